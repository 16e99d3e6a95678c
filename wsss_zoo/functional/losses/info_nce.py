"""InfoNCE loss: picking the predicted target out of many."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes


def info_nce_loss(
    preds: Tensor, targets: Tensor, positives: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of picking each prediction's own target among all targets.

    The score of target p for prediction m is their inner product divided by the temperature. All
    other targets are negatives. Random guessing has the loss log P and the accuracy 1 / P.

    Args:
        preds: Predicted vectors, (M, D), at least one.
        targets: Candidate vectors, own targets and negatives alike, (P, D).
        positives: Index in [0, P) of each prediction's own target, (M,) int64.
        temperature: Divisor of the scores, above 0.

    Returns:
        Mean loss over the predictions, a float32 scalar (float64 for float64 vectors), and the
        share of predictions that score their own target highest, detached.

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    arXiv:1807.03748, equation 4, which has no temperature.

    >>> targets = torch.eye(3)
    >>> info_nce_loss(4 * targets, targets, torch.tensor([0, 1, 0]))
    (tensor(1.3693), tensor(0.6667))
    """
    wanted = "(M, D), (P, D) and (M,)"
    check_shapes(wanted, preds=preds, targets=targets, positives=positives)
    if len(preds) == 0:
        raise ValueError(f"preds {tuple(preds.shape)} do not fit; give (M, D), M at least 1")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0")
    preds = at_least_float32(preds)
    # Autocast would compute the product in half precision.
    with torch.autocast(preds.device.type, enabled=False):
        scores = preds @ targets.to(preds.dtype).T / temperature
    loss = F.cross_entropy(scores, positives)
    return loss, (scores.detach().argmax(1) == positives).to(preds.dtype).mean()
