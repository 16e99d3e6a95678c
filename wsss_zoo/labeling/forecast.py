"""What more masks would bring, from trainings on a quarter, a half and all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.deploy.load import LoadedSegmenter, load
from wsss_zoo.functional.labeling.folds import assign_folds
from wsss_zoo.functional.labeling.learning_curve import fit_learning_curve
from wsss_zoo.functional.measures.confusion import confusion_matrix, mean_iou
from wsss_zoo.labeling.opened_run import OpenedRun
from wsss_zoo.labeling.pool import Pool
from wsss_zoo.labeling.predictions import predict
from wsss_zoo.labeling.subsets import check_repeatable, train_on_subsets

# A quarter of fewer masks than this says nothing.
_LEAST_LABELED, _LEAST_HELD_OUT = 8, 2
_DRAWS = 200


@dataclass(frozen=True)
class Forecast:
    """Val mIoU by number of masks, in [0, 1], with standard errors over draws of val images."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    errors: tuple[float, ...]

    def gain(self, more: int) -> tuple[float, float]:
        """Forecast what ``more`` masks add to val mIoU, and its standard error."""
        curve = fit_learning_curve(self.labels, self.scores, self.errors)
        return curve.gain(max(self.labels), more)

    def lines(self, more: int) -> Iterator[str]:
        """Word the measurements and the forecast."""
        for n, score, error in zip(self.labels, self.scores, self.errors, strict=True):
            yield f"{n:5} masks: val mIoU {100 * score:.1f} ± {100 * error:.1f}"
        gain, error = self.gain(more)
        # Adding 0.0 makes a rounded -0.0 positive.
        points = round(100 * gain, 1) + 0.0
        words = f"{more} more masks: {points:+.1f} ± {100 * error:.1f} points of val mIoU"
        if more > max(self.labels):
            words += " (more than a doubling: a guess)"
        yield words


def check_forecast(opened: OpenedRun, pool: Pool) -> None:
    """Refuse what no forecast can be made of; ValueError says what is missing."""
    if pool.kind != "masks":
        raise ValueError(f"a forecast is of masks, and kind is {pool.kind}; leave out --forecast")
    check_repeatable(opened.config)
    if len(pool.labeled) < _LEAST_LABELED or len(_held_out(opened)) < _LEAST_HELD_OUT:
        raise ValueError(
            f"a forecast needs {_LEAST_LABELED} training masks and {_LEAST_HELD_OUT} held-out "
            f"ones, and there are {len(pool.labeled)} and {len(_held_out(opened))}; leave out "
            "--forecast"
        )


def make_forecast(
    opened: OpenedRun, pool: Pool, out: Path, options: Sequence[str] = ()
) -> Forecast:
    """Train on a quarter and on half of the masks, and measure both and the run itself.

    Args:
        opened: The run.
        pool: Its labelled images.
        out: Folder to write.
        options: Further options of the trainings, as typed.
    """
    tags = opened.data.labels_of(pool.labeled, from_masks=True)
    part = assign_folds(np.stack([tags[i] for i in pool.labeled]), 4)
    numbered = list(zip(pool.labeled, part.tolist(), strict=True))
    subsets = {
        "quarter": [image_id for image_id, fold in numbered if fold == 0],
        "half": [image_id for image_id, fold in numbered if fold < 2],
    }
    paths = train_on_subsets(opened.config, subsets, opened.data, out / "forecast", options)
    networks = [load(path) for path in paths.values()]
    measured = [_measure(network, opened) for network in [*networks, opened.segmenter]]
    labels = [*map(len, subsets.values()), len(pool.labeled)]
    scores = [mean_iou(torch.from_numpy(matrices.sum(0))) for matrices in measured]
    errors = [max(1e-3, _error(matrices)) for matrices in measured]
    return Forecast(tuple(labels), tuple(scores), tuple(errors))


def _held_out(opened: OpenedRun) -> list[str]:
    data = opened.data
    ids = [] if data.val_split is None else data.ids_of(data.val_split)
    source = data.source
    return [i for i in ids if i in source.masks] if isinstance(source, ImageFiles) else ids


def _measure(segmenter: LoadedSegmenter, opened: OpenedRun) -> NDArray[np.int64]:
    """Count the confusion matrix of each held-out image, (N, C, C)."""
    matrices = []
    for shown in predict(segmenter, opened.data, _held_out(opened)):
        mask = opened.data.read_mask(shown.image_id)
        assert mask is not None
        preds = torch.from_numpy(shown.probs.argmax(0))
        target = torch.from_numpy(mask).long()
        matrices.append(confusion_matrix(preds, target, len(shown.probs), 255).numpy())
    return np.stack(matrices)


def _error(matrices: NDArray[np.int64]) -> float:
    """Standard deviation of the mIoU over draws of the images, with replacement."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(matrices), (_DRAWS, len(matrices)))
    scores = [mean_iou(torch.from_numpy(matrices[draw].sum(0))) for draw in draws]
    return float(np.std(scores))
