"""Which of several segmenters is the best on held-out masks, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_zoo.data import BaseDataModule
from wsss_zoo.deploy.load import LoadedSegmenter
from wsss_zoo.functional import confusion_matrix

Counts = NDArray[np.int64]

_DRAWS, _CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Score:
    """mIoU of a candidate on held-out masks, and its difference to the first one.

    Args:
        name: Step that trained the candidate.
        images: Number of held-out images.
        miou: mIoU in [0, 1], from one confusion matrix over all images.
        interval: 95 % interval of it, by drawing images again; None for a single image.
        gain: Difference to the first candidate.
        gain_interval: 95 % interval of the difference, by drawing the same images for both.
    """

    name: str
    images: int
    miou: float
    interval: tuple[float, float] | None
    gain: float
    gain_interval: tuple[float, float] | None

    def line(self) -> str:
        """Say it in percent and points."""
        said = f"{self.name}: {100 * self.miou:.1f} % mIoU on {self.images} held-out masks"
        if self.interval:
            said += " (95 %: {:.1f} to {:.1f})".format(*(100 * end for end in self.interval))
        return said

    def gain_line(self, baseline: str) -> str:
        """Say the difference to the baseline in points."""
        said = f"{100 * self.gain:+.1f} points over {baseline}"
        if self.gain_interval:
            said += " (95 %: {:+.1f} to {:+.1f})".format(*(100 * end for end in self.gain_interval))
        return said


def count_confusions(
    segmenter: LoadedSegmenter, data: BaseDataModule, ids: Sequence[str]
) -> Counts:
    """Compare predictions with masks, image by image.

    Returns:
        Confusion matrices, (N, C, C), row = truth; of the images that have a mask.
    """
    found = []
    for image_id in ids:
        mask = data.read_mask(image_id)
        if mask is None:
            continue
        preds = torch.from_numpy(segmenter(data.read_image(image_id)).mask)
        counts = confusion_matrix(preds, torch.from_numpy(mask), data.num_classes)
        found.append(counts.numpy())
    size = data.num_classes
    return np.stack(found) if found else np.zeros((0, size, size), dtype=np.int64)


def mean_ious(confusions: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Compute the mIoU of each confusion matrix, (.., C, C), over the classes that occur in it."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    union = confusions.sum(-1) + confusions.sum(-2) - hits
    with np.errstate(invalid="ignore"):
        iou = np.where(union > 0, hits / np.maximum(union, 1), np.nan)
    occurring = np.maximum((~np.isnan(iou)).sum(-1), 1)
    mean: NDArray[np.float64] = np.nansum(iou, axis=-1) / occurring
    return mean


def compare_candidates(confusions: Mapping[str, Counts], seed: int = 0) -> list[Score]:
    """Measure candidates on the same images; differences are to the first.

    Intervals are percentiles over 2000 draws of as many images with replacement. A difference
    compares both on the same draw.

    Args:
        confusions: Confusion matrices by candidate, (N, C, C) each, of the same N images.
        seed: Seed of the draws.
    """
    first, *_ = confusions.values()
    number, classes = len(first), first.shape[-1]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(number, np.full(number, 1 / number), size=_DRAWS)
    drawn = {
        name: mean_ious((times @ counts.reshape(number, -1)).reshape(-1, classes, classes))
        for name, counts in confusions.items()
    }
    exact = {name: float(mean_ious(counts.sum(0))) for name, counts in confusions.items()}
    base = next(iter(confusions))
    return [
        Score(
            name,
            number,
            exact[name],
            _interval(drawn[name]) if number > 1 else None,
            exact[name] - exact[base],
            _interval(drawn[name] - drawn[base]) if number > 1 else None,
        )
        for name in confusions
    ]


def best_score(scores: Sequence[Score]) -> Score:
    """Find the candidate with the highest mIoU; of equal ones the first, which is the baseline."""
    return max(scores, key=lambda score: score.miou)


def make_folds(ids: Sequence[str], count: int) -> list[list[str]]:
    """Divide images into folds whose sizes differ by one at most, evenly over the sorted ids.

    >>> make_folds(["a", "b", "c"], 2)
    [['a', 'c'], ['b']]
    """
    ordered = sorted(ids)
    return [ordered[place::count] for place in range(min(count, len(ordered)))]


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
