"""From the classes of regions to those of pixels, believed labels first."""

import torch
from torch import Tensor

from wsss_zoo.contract import GraphEvaluationBatch
from wsss_zoo.functional import WriteBack, dense_crf, temper, write_back

UNKNOWN = 255


def believed_classes(
    batch: GraphEvaluationBatch, votes: Tensor, present: Tensor, rule: WriteBack | None
) -> Tensor:
    """Find the classes of the pixels that are not to be corrected, 255 elsewhere.

    Args:
        batch: One image.
        votes: Class of the regions whose clean pixels agreed on it, else 255, (V,) int64.
        present: Classes that the image may show, the background included, ascending, (C',) int64.
        rule: What of the noisy label is kept; see `functional.write_back`. None believes no pixel.

    Returns:
        (H, W) int64.
    """
    segments, label = batch["segments"][0], batch["label"][0]
    nothing = torch.full_like(votes, UNKNOWN)
    if rule is None:
        return nothing[segments]
    # A folder from elsewhere may have labels that the tags exclude.
    clean = batch["clean"][0] & torch.isin(label, present)
    return write_back(nothing, votes, segments, label, clean, rule, UNKNOWN)


def paint(
    batch: GraphEvaluationBatch, believed: Tensor, region_probs: Tensor | None, present: Tensor
) -> Tensor:
    """Give each pixel class probabilities: certain where believed, else those of its region.

    Args:
        batch: One image.
        believed: From `believed_classes`, (H, W) int64.
        region_probs: Class probabilities of the regions, (V, C); None for the clean network's, and
            its prediction of single pixels.
        present: Classes that the image may show, the background included, ascending, (C',) int64.

    Returns:
        (C', H, W) float32.
    """
    segments = batch["segments"][0]
    if region_probs is None:
        region_probs, filled = batch["graph"].probs.float(), batch["prediction"][0]
    else:
        filled = region_probs.argmax(1)[segments]
    preds = torch.where(believed == UNKNOWN, filled, believed)
    soft = region_probs[:, present].T[:, segments]
    hard = (preds == present[:, None, None]).float()
    # A prediction of single pixels may differ from its region's.
    certain = (believed != UNKNOWN) | (present[soft.argmax(0)] != preds)
    return torch.where(certain, hard, soft)


def refine(probs: Tensor, image: Tensor, cap: float, weight: float) -> Tensor:
    """Refine probabilities (C', H, W) of an image (3, H, W) in [0, 1] with a dense CRF.

    Args:
        probs: Class probabilities.
        image: The image.
        cap: Largest probability where the CRF begins.
        weight: Weight of its colour kernel.
    """
    pixels = (image.float().permute(1, 2, 0) * 255).round().to(torch.uint8)
    refined = dense_crf(
        temper(probs, cap).cpu().numpy(),
        pixels.contiguous().cpu().numpy(),
        bilateral_sxy=50.0,
        bilateral_srgb=5.0,
        bilateral_weight=weight,
    )
    return torch.from_numpy(refined).to(probs)
