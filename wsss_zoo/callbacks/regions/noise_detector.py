"""The loss above which given labels are noise, measured during ``predict`` on known masks."""

import dataclasses
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from wsss_zoo.callbacks.metrics.publishing import publish_measures
from wsss_zoo.callbacks.regions.detection_quality import (
    MEASURES,
    count_detection,
    describe_detection,
)
from wsss_zoo.callbacks.regions.loss_thresholds import REMEDY, choose_thresholds, used_thresholds
from wsss_zoo.callbacks.regions.region_inputs import RegionWriter, SeenImage
from wsss_zoo.callbacks.writers.run_identity import manifest_of
from wsss_zoo.contract import DataModule
from wsss_zoo.data.supervision.novel_masks import erase_novel, index_table
from wsss_zoo.drawing.loss_histogram import draw_losses
from wsss_zoo.files.atomic import write_atomic, write_json
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.files.manifests import HEADER, checked_id
from wsss_zoo.functional import clean_pixels, label_loss, youden_threshold

THRESHOLD, PICTURE, PIXELS = "threshold.json", "losses.png", "pixels"
# Of all images together: memory does not grow with their number.
_MAX_PIXELS = 4_000_000


class NoiseDetector(RegionWriter):
    """Finds the loss up to which a given label counts as clean, where the masks are known.

    The loss of a label is ``-log p`` of its class, where p is the softmax over the background and
    the tagged classes of the network that predicts. That network should not have been trained on
    the masks of these images: its losses would be too small. The threshold is the largest whose
    clean pixels are correct to the wanted share.

    Writes ``noise/threshold.json`` (for `GraphWriter`) and ``noise/losses.png`` into the trainer's
    ``default_root_dir``. Prints and logs precision (correct share of the clean labels), coverage
    (clean share of all) and recall (clean share of the correct ones), as ``noise/precision``,
    ``noise/precision/<class>`` and so on. Pixels without a label or a true class do not count, nor
    do those of novel classes, which count as having no masks. A prediction that was killed and is
    started again measures what is left. Memory is bounded: at most four million pixels are kept,
    the same number of each image.

    Args:
        pseudo_label_dir: Folder of the labels to examine, ``<image_id>.png`` of every predicted
            image; None turns the callback off.
        precision: Share of the clean pixels whose label shall be correct, in (0, 1].
        per_class: Use a threshold for each class of the labels. With one for all, the background,
            whose losses are small, makes up most of the clean pixels.
        max_pixels_per_image: Measure at most this number of pixels of an image, on a regular grid.

    Raises:
        ValueError: If a number is out of range, an image has no mask, the labels are for other
            classes, or the method is not a segmenter that is run in one view.
        FileNotFoundError: If the folder or a label map is missing.
        RuntimeError: If there is no pixel to measure or a loss is NaN.

    Detection as in Yi et al., "Learning from Pixel-Level Label Noise", arXiv 2103.14242; their rule
    for the threshold is not published.
    """

    group: ClassVar[str] = "noise"

    def __init__(
        self,
        pseudo_label_dir: str | None = None,
        precision: float = 0.95,
        per_class: bool = False,
        max_pixels_per_image: int = 20_000,
    ) -> None:
        super().__init__(pseudo_label_dir)
        if not 0 < precision <= 1:
            raise ValueError(f"noise.precision is {precision}; give a share in (0, 1]")
        if max_pixels_per_image < 1:
            raise ValueError(
                f"noise.max_pixels_per_image is {max_pixels_per_image}; give at least 1"
            )
        self.precision, self.per_class = precision, per_class
        self.max_pixels_per_image = max_pixels_per_image
        self._directory = Path()
        self._run: dict[str, Any] = {}
        self._most = 0
        self._is_novel = index_table([])

    def _check_inputs(self, trainer: Trainer, data: DataModule) -> None:
        image_ids = data.predict_ids()
        without = [image_id for image_id in image_ids if data.read_mask(image_id) is None]
        if without:
            raise ValueError(
                f"{len(without)} of {len(image_ids)} images have no mask, first: "
                f"{', '.join(without[:3])}; noise is measured on images with masks: choose them "
                "with --data.predict_split"
            )
        novel = set(getattr(data, "novel_classes", ()))
        self._is_novel = index_table([i for i, n in enumerate(data.class_names) if n in novel])
        self._directory = Path(trainer.default_root_dir) / "noise"
        self._most = min(self.max_pixels_per_image, max(_MAX_PIXELS // len(image_ids), 1))

    def _begin_folder(
        self, trainer: Trainer, module: LightningModule, data: DataModule
    ) -> set[str]:
        assert self._labels is not None
        names = ("precision", "per_class", "max_pixels_per_image")
        options = {name: getattr(self, name) for name in names} | {"labels": self._labels.identity}
        self._run = dataclasses.asdict(manifest_of(trainer, module, data, options))
        if _read_json(self._directory / THRESHOLD).get("run") == self._run:
            return set(data.predict_ids())
        if _read_json(self._directory / HEADER) != self._run:
            # Measured otherwise, or with another network: nothing of it can be used.
            (self._directory / THRESHOLD).unlink(missing_ok=True)
            shutil.rmtree(self._directory / PIXELS, ignore_errors=True)
            write_json(self._directory / HEADER, self._run)
        return {i for i in data.predict_ids() if self._pixels_of(i).exists()}

    def _process_image(self, seen: SeenImage, *, write: bool) -> None:
        assert seen.mask is not None
        if seen.mask.shape != seen.label.shape:
            raise ValueError(
                f"the mask of {seen.image_id} is {tuple(seen.mask.shape[1:])}, its image "
                f"{tuple(seen.label.shape[1:])} (height, width); make both equal"
            )
        height, width = seen.label.shape[1:]
        grid = (..., *regular_grid(height, width, self._most))
        label, mask = seen.label[grid], erase_novel(seen.mask[grid], self._is_novel)
        loss = label_loss(seen.logits[grid], label)
        known = (label != IGNORE_INDEX) & (mask != IGNORE_INDEX)
        if write:
            columns = (loss[known], label[known].byte(), (label == mask)[known])
            losses, labels, is_correct = (column.numpy() for column in columns)
            buffer = io.BytesIO()
            np.savez(buffer, loss=losses, label=labels, is_correct=is_correct)
            write_atomic(self._pixels_of(seen.image_id), buffer.getvalue())

    def _finish_folder(self, trainer: Trainer, data: DataModule) -> None:
        trainer.strategy.barrier("losses written")
        problem = self._finish_on_rank_zero(trainer, data) if trainer.is_global_zero else None
        problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            raise RuntimeError(problem)

    def _finish_on_rank_zero(self, trainer: Trainer, data: DataModule) -> str | None:
        """Measure, and return what went wrong, if anything."""
        path, image_ids = self._directory / THRESHOLD, data.predict_ids()
        content = _read_json(path)
        if content.get("run") != self._run:
            missing = [i for i in image_ids if not self._pixels_of(i).exists()]
            if missing:
                rank_zero_info(
                    f"{self._directory}: {len(missing)} of {len(image_ids)} images were left out "
                    f"(limit_predict_batches); without them there is no {THRESHOLD}"
                )
                return None
            pixels = [self._read_pixels(image_id) for image_id in image_ids]
            losses, labels, is_correct = (torch.cat(part) for part in zip(*pixels, strict=True))
            if not losses.isfinite().any():
                return (
                    f"none of the {len(image_ids)} images has a pixel with a true class and a "
                    f"label of a tagged class, in {self.pseudo_label_dir}; choose other images"
                )
            if losses.isnan().any():
                found = f"{int(losses.isnan().sum())} of {len(losses)} losses"
                return f"{found} of given labels are NaN; check the network"
            content = self._measure(losses, labels, is_correct, data.class_names)
            content |= {"images": len(image_ids), "run": self._run}
            self._draw(losses, is_correct, content)
            write_json(path, content)
        shutil.rmtree(self._directory / PIXELS, ignore_errors=True)
        (self._directory / HEADER).unlink(missing_ok=True)
        title = f"{path}: labels taken for clean, against {content['images']} masks"
        metrics, names = content["metrics"], data.class_names
        publish_measures(trainer, title, metrics, self.group, MEASURES, names)
        if content["gamma"] is None:
            rank_zero_warn(f"{path} has no threshold, {content['why']['gamma']}; {REMEDY}")
        return None

    def _measure(
        self, losses: Tensor, labels: Tensor, is_correct: Tensor, class_names: list[str]
    ) -> dict[str, Any]:
        chosen = choose_thresholds(losses, labels, is_correct, self.precision, class_names)
        finite = losses.isfinite()
        youden = youden_threshold(losses[finite], is_correct[finite])
        content = chosen | {
            "youden": youden if math.isfinite(youden) else None,
            "per_class": self.per_class,
            "precision_asked": self.precision,
            "pixels": len(losses),
        }
        clean = clean_pixels(losses, labels, used_thresholds(content, class_names))
        counts = count_detection(labels.long(), clean, is_correct, len(class_names))
        described = describe_detection(counts, class_names, self.group)
        for name in ("gamma", "youden"):
            if content[name] is not None:
                described["metrics"][f"{self.group}/{name}"] = content[name]
        return content | described

    def _draw(self, losses: Tensor, is_correct: Tensor, content: dict[str, Any]) -> None:
        overall = content["overall"].items()
        shares = ", ".join(f"{name} {share:.3f}" for name, share in overall if share is not None)
        title = f"{shares} (a threshold for each class)" if self.per_class else shares
        lines = {"gamma": content["gamma"], "Youden's": content["youden"]}
        picture = draw_losses(losses.numpy(), is_correct.numpy(), lines, title)
        write_atomic(self._directory / PICTURE, picture)

    def _pixels_of(self, image_id: str) -> Path:
        return self._directory / PIXELS / f"{checked_id(image_id)}.npz"

    def _read_pixels(self, image_id: str) -> tuple[Tensor, Tensor, Tensor]:
        path = self._pixels_of(image_id)
        try:
            with np.load(path, allow_pickle=False) as stored:
                names = ("loss", "label", "is_correct")
                loss, label, is_correct = (torch.from_numpy(stored[name]) for name in names)
        except Exception as error:  # numpy lets zipfile's and zlib's errors through
            raise OSError(
                f"{path} cannot be read ({error}); delete it and predict again"
            ) from error
        return loss, label, is_correct


def regular_grid(height: int, width: int, most: int) -> tuple[slice, slice]:
    """Return rows and columns of a grid of at most ``most`` pixels, in the middle of its cells.

    >>> regular_grid(375, 500, 20_000)
    (slice(2, None, 4), slice(2, None, 4))
    """
    step = max(1, math.isqrt(height * width // most))
    while True:
        rows, columns = (slice(min(step, side) // 2, None, step) for side in (height, width))
        if len(range(height)[rows]) * len(range(width)[columns]) <= most:
            return rows, columns
        step += 1


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
