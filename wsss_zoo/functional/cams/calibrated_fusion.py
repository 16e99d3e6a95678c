"""Pseudo-labels fused from two sources of logits."""

from collections.abc import Callable

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

_EPS = 1e-8


def calibrated_fusion(
    decoder_logits: Tensor,
    sgc_logits: Tensor,
    temperature: float = 0.5,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Average two predictions after scaling their logits to a common magnitude, then sharpen.

    Both logits are divided by R = sqrt(mean(v^2) + 1e-8), the mean taken over all values v of both.
    The softmaxes are averaged, raised to the power 1 / temperature and normalised.

    Args:
        decoder_logits: Finite scores of the segmenter, (N, C, H, W).
        sgc_logits: Finite scores of the refined Grad-CAMs, of the same shape.
        temperature: Above 0; 1 keeps the average, lower values sharpen it.
        reduce: Maps the mean of v^2, a scalar, to the value used in its place: in distributed
            training its mean over the ranks, so that all share one R.

    Returns:
        Probabilities (N, C, H, W) that sum to 1 over the classes, float32 (float64 for float64
        logits), without gradient.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021. The paper
    writes one norm per pixel; this implementation takes one scalar for the whole batch, as in the
    authors' code (googleinterns/wss @ b01acaf).

    >>> logits = torch.tensor([2.0, -2.0]).view(1, 2, 1, 1)
    >>> calibrated_fusion(logits, 3 * logits, temperature=1.0).flatten()
    tensor([0.8229, 0.1771])
    """
    wanted = "(N, C, H, W) and (N, C, H, W)"
    check_shapes(wanted, decoder_logits=decoder_logits, sgc_logits=sgc_logits)
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive number")
    decoder = at_least_float32(decoder_logits.detach())
    sgc = sgc_logits.detach().to(decoder.dtype)
    square = (decoder.square().mean() + sgc.square().mean()) / 2
    rms = ((square if reduce is None else reduce(square)) + _EPS).sqrt()
    fused = torch.logaddexp((decoder / rms).log_softmax(1), (sgc / rms).log_softmax(1))
    # In logarithms, because powers underflow at a low temperature. The average's 1/2 cancels.
    return (fused / temperature).softmax(1)
