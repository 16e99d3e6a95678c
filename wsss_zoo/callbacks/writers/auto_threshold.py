"""Background threshold chosen from the activation maps of some images, before labels are cut."""

from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from wsss_zoo.callbacks.metrics.label_estimate import sampled_ids
from wsss_zoo.callbacks.metrics.publishing import sum_over_ranks
from wsss_zoo.callbacks.outputs import from_outputs
from wsss_zoo.callbacks.views import predict_view, tags_of
from wsss_zoo.callbacks.writers.cam_labels import refine_cams
from wsss_zoo.contract import DataModule
from wsss_zoo.drawing.threshold_curve import draw_threshold
from wsss_zoo.files.atomic import read_json, write_atomic, write_json
from wsss_zoo.files.pseudo_labels import THRESHOLD
from wsss_zoo.functional import score_separation

THRESHOLDS = tuple(step / 100 for step in range(1, 100))
# Images whose maps are computed twice; 32 already choose as all do, within a point of mIoU.
_IMAGES = 64
# Shares are added in whole billionths, so that ranks and resumes give the same sums.
_UNIT = 10**9


@dataclass(frozen=True)
class ThresholdChoice:
    """Background threshold that `score_separation` chooses, and the mean shares at all."""

    images: int
    separation: list[float]

    @property
    def threshold(self) -> float:
        """The threshold of the highest share, the lowest of equals."""
        return THRESHOLDS[max(range(len(THRESHOLDS)), key=self.separation.__getitem__)]

    def write(self, directory: Path, run_folder: Path) -> None:
        """Write ``threshold.json`` beside the labels, and ``threshold.png`` to the run's folder."""
        content = {
            "bg_threshold": self.threshold,
            "images": self.images,
            "separation": self.separation,
            "thresholds": list(THRESHOLDS),
        }
        write_json(directory / THRESHOLD, content)
        title = f"separation of the scores, mean over {self.images} images"
        picture = draw_threshold(THRESHOLDS, self.separation, self.threshold, title)
        write_atomic(run_folder / "threshold.png", picture)


def read_threshold(directory: Path) -> float | None:
    """Read the threshold of a folder of labels; None where none was chosen."""
    value = read_json(directory / THRESHOLD).get("bg_threshold")
    return value if value in THRESHOLDS else None


def choose_threshold(
    trainer: Trainer,
    module: LightningModule,
    data: DataModule,
    count: int = _IMAGES,
    *,
    par: bool = False,
) -> ThresholdChoice:
    """Choose the background threshold by the maps of some tagged images of the prediction.

    These are at most ``count`` images, chosen by their ids. With ``par`` their maps are refined, as
    those are that will be cut. Each rank takes a share of them; all
    get the same result. Call it once the prediction has begun.

    Raises:
        ValueError: If no image has tags, or all maps are constant.
    """
    ids = [i for i in data.predict_ids() if _may_have_tags(data, i)]
    chosen = sampled_ids(ids, count)
    rank_zero_info(f"bg_threshold auto: choosing it by the maps of {len(chosen)} images")
    total = torch.zeros(len(THRESHOLDS) + 1, dtype=torch.int64)
    thresholds = torch.tensor(THRESHOLDS)
    for image_id in chosen[trainer.global_rank :: trainer.world_size]:
        scores = _strongest_scores(trainer, module, data, image_id, par)
        if scores is not None:
            shares = score_separation(scores, thresholds)
            total[:-1] += (shares * _UNIT).round().long()
            total[-1] += 1
    *sums, images = sum_over_ranks(trainer, total).tolist()
    if not any(sums):
        raise ValueError(
            f"bg_threshold is auto, but of {len(chosen)} images of predict_split "
            f"{data.predict_split!r} none has tags and maps that differ between pixels; give "
            "bg_threshold a number, or choose images with tags"
        )
    choice = ThresholdChoice(images, [value / (_UNIT * images) for value in sums])
    rank_zero_info(f"bg_threshold auto: {choice.threshold}")
    return choice


def _may_have_tags(data: DataModule, image_id: str) -> bool:
    tags = data.image_labels_of(image_id)
    return tags is None or bool((tags > 0).any())


def _strongest_scores(
    trainer: Trainer, module: LightningModule, data: DataModule, image_id: str, par: bool
) -> Tensor | None:
    """Highest score of each pixel among the tagged classes, (H, W) on the CPU; None without."""
    tags = tags_of(data, image_id)
    if tags is None or not tags.any():
        return None
    outputs = predict_view(trainer, data.read_image(image_id), tags, image_id)
    cams = from_outputs(outputs, "cam", module, "predict")
    if par:
        image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)[None]
        cams = refine_cams(cams, tags[None].to(cams.device), (image / 255).to(cams.device))
    cam = cams[0]
    return cam[tags.nonzero()[:, 0].to(cam.device)].float().amax(0).cpu()
