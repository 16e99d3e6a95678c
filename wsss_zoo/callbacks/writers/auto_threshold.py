"""Background threshold chosen from the activation maps of some images, before labels are cut."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from wsss_zoo.callbacks.metrics.label_estimate import sampled_ids
from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.outputs import from_outputs
from wsss_zoo.callbacks.views import predict_view, tags_of
from wsss_zoo.callbacks.writers.cam_labels import (
    CamLabelOptions,
    cam_pseudo_label,
    refine_cams,
    without,
)
from wsss_zoo.contract import DataModule
from wsss_zoo.drawing.threshold_curve import draw_threshold
from wsss_zoo.files.atomic import read_json, write_atomic, write_json
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.pseudo_labels import THRESHOLD
from wsss_zoo.functional import color_separation, score_separation

THRESHOLDS = tuple(step / 100 for step in range(1, 100))
# A CRF runs at each: fewer of them, on fewer images.
CRF_THRESHOLDS = tuple(step / 100 for step in range(5, 61, 5))
# Images whose maps are computed twice; 32 already choose as all do, within a point of mIoU.
_IMAGES, _CRF_IMAGES = 64, 32
# Shares are added in whole billionths, so that ranks and resumes give the same sums.
_UNIT = 10**9


@dataclass(frozen=True)
class ThresholdChoice:
    """Background threshold of the highest mean share, and the mean shares at all thresholds."""

    images: int
    separation: list[float]
    thresholds: tuple[float, ...] = THRESHOLDS

    @property
    def threshold(self) -> float:
        """The threshold of the highest share, the lowest of equals."""
        return self.thresholds[max(range(len(self.thresholds)), key=self.separation.__getitem__)]

    def write(self, directory: Path, run_folder: Path) -> None:
        """Write ``threshold.json`` beside the labels, and ``threshold.png`` to the run's folder."""
        content = {
            "bg_threshold": self.threshold,
            "images": self.images,
            "separation": self.separation,
            "thresholds": list(self.thresholds),
        }
        write_json(directory / THRESHOLD, content)
        title = f"separation of the scores, mean over {self.images} images"
        picture = draw_threshold(self.thresholds, self.separation, self.threshold, title)
        write_atomic(run_folder / "threshold.png", picture)


def read_threshold(directory: Path) -> float | None:
    """Read the threshold of a folder of labels; None where none was chosen."""
    value = read_json(directory / THRESHOLD).get("bg_threshold")
    return value if value in THRESHOLDS else None


def choose_threshold(
    trainer: Trainer,
    module: LightningModule,
    data: DataModule,
    options: CamLabelOptions,
    count: int | None = None,
) -> ThresholdChoice:
    """Choose the background threshold by the maps of some tagged images of the prediction.

    The threshold is Otsu's: its labels divide the pixels so that the scores of both sides differ
    most (`score_separation`). The labels are those that will be written: with PAR the maps are
    refined before, with the CRF the labels are refined at every threshold.

    Args:
        trainer: The trainer, once the prediction has begun.
        module: Method with activation maps.
        data: Images and tags.
        options: How labels are cut.
        count: Most images, chosen by their ids; None for 64, with the CRF 32. Each rank takes a
            share of them; all get the same result.

    Raises:
        ValueError: If no image has tags, or all maps are constant.
    """
    ids = [i for i in data.predict_ids() if _may_have_tags(data, i)]
    chosen = sampled_ids(ids, count or (_CRF_IMAGES if options.crf else _IMAGES))
    tried = CRF_THRESHOLDS if options.crf else THRESHOLDS
    rank_zero_info(f"bg_threshold auto: choosing it by the maps of {len(chosen)} images")
    total = torch.zeros(len(tried) + 1, dtype=torch.int64)
    for image_id in chosen[trainer.global_rank :: trainer.world_size]:
        maps = _tagged_maps(trainer, module, data, image_id, options)
        if maps is not None:
            image = data.read_image(image_id) if options.crf else None
            shares = _separation(maps, tried, options, image)
            total[:-1] += (shares * _UNIT).round().long()
            total[-1] += 1
    *sums, images = sum_over_ranks(trainer, total).tolist()
    if not any(sums):
        raise ValueError(
            f"bg_threshold is auto, but of {len(chosen)} images of predict_split "
            f"{data.predict_split!r} none has tags and maps that differ between pixels; give "
            "bg_threshold a number, or choose images with tags"
        )
    choice = ThresholdChoice(images, [value / (_UNIT * images) for value in sums], tried)
    rank_zero_info(f"bg_threshold auto: {choice.threshold}")
    return choice


def _may_have_tags(data: DataModule, image_id: str) -> bool:
    tags = data.image_labels_of(image_id)
    return tags is None or bool((tags > 0).any())


def _separation(
    maps: Tensor, thresholds: tuple[float, ...], options: CamLabelOptions, image: UInt8Array | None
) -> Tensor:
    """Share of the variance of a pixel's highest score between the sides of each label, (T,)."""
    scores = maps.amax(0)
    if not options.crf:
        return score_separation(scores, torch.tensor(thresholds))
    tags = torch.ones(len(maps))
    options = replace(options, dropped=())  # these maps are without them
    labels = (
        cam_pseudo_label(maps, tags, replace(options, bg_threshold=value), image)
        for value in thresholds
    )
    sides = (torch.from_numpy((label > 0).astype(np.uint8)) for label in labels)
    channels = scores.expand(3, *scores.shape)
    return torch.tensor([color_separation(channels, side) for side in sides], dtype=torch.float64)


def _tagged_maps(
    trainer: Trainer,
    module: LightningModule,
    data: DataModule,
    image_id: str,
    options: CamLabelOptions,
) -> Tensor | None:
    """Maps of the tagged classes that count, (K, H, W) on the CPU; None without one."""
    tags = tags_of(data, image_id)
    kept = None if tags is None else without(tags, options.dropped)
    if tags is None or kept is None or not kept.any():
        return None
    outputs = predict_view(trainer, data.read_image(image_id), tags, image_id)
    cams = from_outputs(outputs, "cam", module, "predict")
    if options.par:
        image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)[None]
        cams = refine_cams(cams, tags[None].to(cams.device), (image / 255).to(cams.device))
    cam = cams[0]
    return cam[kept.nonzero()[:, 0].to(cam.device)].float().cpu()
