"""From the classes of regions to those of pixels, believed labels first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wsss_zoo.functional import WriteBack, dense_crf, temper, write_back

UNKNOWN = 255


class Painting(NamedTuple):
    """How pixels get their corrected class.

    Args:
        rule: What of the noisy label is kept; see `functional.write_back`.
        trust: False: no pixel's label is believed, whatever the rule.
        crf: Refine with a dense CRF.
        crf_cap: Largest probability where the CRF begins.
        crf_weight: Weight of its colour kernel.
    """

    rule: WriteBack
    trust: bool
    crf: bool
    crf_cap: float
    crf_weight: float


def paint_corrected(
    painting: Painting,
    batch: Mapping[str, Any],
    votes: Tensor,
    probs: Tensor | None,
    present: Tensor,
) -> tuple[Tensor, Tensor]:
    """Classes of an image's pixels and their probabilities.

    A believed pixel has probability 1, another that of its region, before the CRF.

    Args:
        painting: The rules.
        batch: An image (1, 3, H, W) in [0, 1] with its ``graph``, and ``segments``, ``label``,
            ``clean`` and ``prediction``, each (1, H, W).
        votes: Class of the regions whose clean pixels agreed on it, else 255, (V,) int64.
        probs: Class probabilities of the regions, (V, C); None for the clean network's prediction.
        present: Classes that the image may show, the background included, ascending, (C',) int64.

    Returns:
        (H, W) int64 among `present`, and (H, W) float32.
    """
    segments = batch["segments"][0]
    believed = _believed(painting, batch, votes, present)
    if probs is None:
        probs, filled = batch["graph"].probs.float(), batch["prediction"][0]
    else:
        filled = probs.argmax(1)[segments]
    preds = torch.where(believed == UNKNOWN, filled, believed)
    soft = probs[:, present].T[:, segments]
    hard = (preds == present[:, None, None]).float()
    # A prediction of single pixels may differ from its region's.
    certain = (believed != UNKNOWN) | (present[soft.argmax(0)] != preds)
    pixel_probs = torch.where(certain, hard, soft)
    if painting.crf and len(present) > 1:
        pixel_probs = _refine(painting, pixel_probs, batch["image"][0])
    confidence, index = pixel_probs.max(0)
    return present[index], confidence


def _believed(
    painting: Painting, batch: Mapping[str, Any], votes: Tensor, present: Tensor
) -> Tensor:
    """Classes of the pixels that are not to be corrected, 255 elsewhere, (H, W) int64."""
    segments, label = batch["segments"][0], batch["label"][0]
    nothing = torch.full_like(votes, UNKNOWN)
    if not painting.trust:
        return nothing[segments]
    # A folder from elsewhere may have labels that the tags exclude.
    clean = batch["clean"][0] & torch.isin(label, present)
    return write_back(nothing, votes, segments, label, clean, painting.rule, UNKNOWN)


def _refine(painting: Painting, probs: Tensor, image: Tensor) -> Tensor:
    """CRF over probabilities (C', H, W) of an image (3, H, W) in [0, 1]."""
    pixels = (image.float().permute(1, 2, 0) * 255).round().to(torch.uint8)
    refined = dense_crf(
        temper(probs, painting.crf_cap).cpu().numpy(),
        pixels.contiguous().cpu().numpy(),
        bilateral_sxy=50.0,
        bilateral_srgb=5.0,
        bilateral_weight=painting.crf_weight,
    )
    return torch.from_numpy(refined).to(probs)
