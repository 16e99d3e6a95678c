"""The loss on true masks that the segmenters share."""

from torch import Tensor

from wsss_zoo.functional import masked_cross_entropy, ohem_cross_entropy
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.ranks import part_of_mean


def supervised_loss(method: BaseMethod, logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy over all pixels or over the hardest, as ``loss`` says; a scalar.

    Of several processes each takes its own hardest pixels, but its part of the mean over all.

    Args:
        method: Has ``loss``, and for "ohem" ``ohem_thresh`` and ``ohem_min_kept``.
        logits: Scores, (N, C, H, W).
        mask: Class index per pixel, (N, H, W) int64; 255 does not count.
    """
    if method.hparams["loss"] == "ohem":
        thresh, min_kept = method.hparams["ohem_thresh"], method.hparams["ohem_min_kept"]
        return ohem_cross_entropy(logits, mask, thresh, min_kept)
    return part_of_mean(masked_cross_entropy(logits, mask), (mask != 255).sum())
