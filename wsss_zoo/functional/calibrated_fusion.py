"""Pseudo-labels from two sources of logits on one scale."""

from collections.abc import Callable

import torch
from torch import Tensor

_EPS = 1e-8


def calibrated_fusion(
    decoder_logits: Tensor,
    sgc_logits: Tensor,
    temperature: float = 0.5,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Average two predictions whose logits are first brought to one scale, then sharpen.

    Both are divided by R = sqrt(mean(v^2) + 1e-8), the mean taken over all values v of the two
    together; their softmaxes are averaged, raised to 1 / temperature and normalised.

    Args:
        decoder_logits: Finite scores of the segmenter, (N, C, H, W).
        sgc_logits: Finite scores of the refined Grad-CAMs, of the same shape.
        temperature: Above 0; 1 leaves the average as it is, less sharpens it.
        reduce: Takes the mean of v^2, a scalar, and gives what to use in its place: in distributed
            training its mean over the processes, so that all have one R.

    Returns:
        Probabilities (N, C, H, W) that sum to 1 over the classes, float32 (float64 for float64
        logits), without gradient.

    Raises:
        ValueError: If the shapes differ or the temperature is not positive.

    Zou et al., "PseudoSeg: Designing Pseudo Labels for Semantic Segmentation", ICLR 2021. The paper
    writes a norm for each pixel; this is the released code's one scalar for the whole batch
    (googleinterns/wss @ b01acaf).

    >>> logits = torch.tensor([2.0, -2.0]).view(1, 2, 1, 1)
    >>> calibrated_fusion(logits, 3 * logits, temperature=1.0).flatten()
    tensor([0.8229, 0.1771])
    """
    if decoder_logits.ndim != 4 or decoder_logits.shape != sgc_logits.shape:
        raise ValueError(
            f"decoder_logits {tuple(decoder_logits.shape)} and sgc_logits "
            f"{tuple(sgc_logits.shape)} do not fit; give both as (N, C, H, W)"
        )
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a positive number")
    dtype = torch.promote_types(decoder_logits.dtype, torch.float32)
    decoder, sgc = decoder_logits.detach().to(dtype), sgc_logits.detach().to(dtype)
    square = (decoder.square().mean() + sgc.square().mean()) / 2
    rms = ((square if reduce is None else reduce(square)) + _EPS).sqrt()
    fused = torch.logaddexp((decoder / rms).log_softmax(1), (sgc / rms).log_softmax(1))
    # As logarithms: with a low temperature the powers of all classes would underflow to 0. The
    # factor 1/2 of the average cancels.
    return (fused / temperature).softmax(1)
