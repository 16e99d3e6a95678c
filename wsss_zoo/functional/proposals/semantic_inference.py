"""Class scores from the proposals of a mask transformer."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32


def semantic_inference(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Sum softmax(class)[:K] times sigmoid(mask) over the queries.

    "No object" is dropped after the softmax, so a query certain of it adds nothing. Resize the mask
    logits to the size of the network's input before the call, and the scores to any other size
    after it.

    Args:
        class_logits: (Q, K + 1), the last for "no object"; or (N, Q, K + 1).
        mask_logits: (Q, H, W); or (N, Q, H, W).

    Returns:
        Scores, (K, H, W) or (N, K, H, W), from 0 to Q, float32 (float64 for float64 logits).

    Cheng et al. (MaskFormer), NeurIPS 2021, semantic inference.

    >>> scores = semantic_inference(torch.zeros(2, 3), torch.tensor([[[99.0, 0.0, -99.0]]] * 2))
    >>> [[round(score, 3) for score in row] for row in scores[:, 0].tolist()]
    [[0.667, 0.333, 0.0], [0.667, 0.333, 0.0]]
    """
    if mask_logits.ndim not in (3, 4) or class_logits.shape[:-1] != mask_logits.shape[:-2]:
        raise ValueError(
            f"class_logits {tuple(class_logits.shape)} and mask_logits {tuple(mask_logits.shape)} "
            "do not fit; give (Q, K + 1) and (Q, H, W), or (N, Q, K + 1) and (N, Q, H, W)"
        )
    masks = at_least_float32(mask_logits).sigmoid()
    probs = class_logits.to(masks.dtype).softmax(-1)[..., :-1]
    with torch.autocast(mask_logits.device.type, enabled=False):
        return torch.einsum("...qk,...qhw->...khw", probs, masks)
