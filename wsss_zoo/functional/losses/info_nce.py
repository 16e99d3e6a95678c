"""InfoNCE loss: picking the predicted target out of many."""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce_loss(
    preds: Tensor, targets: Tensor, positives: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy of picking each prediction's own target among all targets.

    The score of target p for prediction m is their inner product divided by the temperature. All
    other targets are negatives. Random guessing has the loss log P and the accuracy 1 / P.

    Args:
        preds: Predicted vectors, (M, D).
        targets: Candidate vectors, own targets and negatives alike, (P, D).
        positives: Index in [0, P) of each prediction's own target, (M,) int64.
        temperature: Divisor of the scores, above 0.

    Returns:
        Mean loss over the predictions, a float32 scalar (float64 for float64 vectors), and the
        share of predictions that score their own target highest, detached.

    Raises:
        ValueError: If the shapes do not fit, there is no prediction or the temperature is not
            positive.

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    arXiv:1807.03748, equation 4, which has no temperature.

    >>> targets = torch.eye(3)
    >>> info_nce_loss(4 * targets, targets, torch.tensor([0, 1, 0]))
    (tensor(1.3693), tensor(0.6667))
    """
    fits = preds.ndim == targets.ndim == 2 and preds.shape[1] == targets.shape[1]
    if not fits or positives.shape != preds.shape[:1] or len(preds) == 0:
        raise ValueError(
            f"preds {tuple(preds.shape)}, targets {tuple(targets.shape)} and positives "
            f"{tuple(positives.shape)} do not fit; give (M, D), (P, D) and (M,), M at least 1"
        )
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0")
    precise = torch.promote_types(preds.dtype, torch.float32)
    # Autocast would compute the product in half precision.
    with torch.autocast(preds.device.type, enabled=False):
        scores = preds.to(precise) @ targets.to(precise).T / temperature
    loss = F.cross_entropy(scores, positives)
    return loss, (scores.detach().argmax(1) == positives).to(precise).mean()
