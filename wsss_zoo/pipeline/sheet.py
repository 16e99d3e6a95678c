"""The sheet of pictures of a finished pipeline: typical images, and the worst."""

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wsss_zoo.arguments.given import given_settings
from wsss_zoo.pipeline.recipe import Recipe, Step
from wsss_zoo.runs.folder import CONFIG

if TYPE_CHECKING:
    from wsss_zoo.callbacks import SheetRow
    from wsss_zoo.data import BaseDataModule

_ROWS, _COMPARED = 12, 500  # images of a sheet, and those that they are chosen from


def draw_step_sheet(recipe: Recipe, root: Path, path: Path) -> None:
    """Draw images that one step of the recipe's ``sheet`` predicted, with files of others.

    Of more than twelve images, two thirds are typical ones, so that every class occurs. Below them
    are those whose prediction (else pseudo-label) agrees least with the mask, the worst last.

    Args:
        recipe: The recipe.
        root: Folder of the steps' folders.
        path: PNG file to write.
    """
    from wsss_zoo.callbacks import draw_sheet

    step = next(step for step in recipe.steps if step.name == recipe.sheet["images"])
    data = _data_of(step, root)
    folders = {field: root / step / "pseudo_labels" for field, step in recipe.sheet.items()}
    rows = [_row(image_id, note, data, folders) for image_id, note in _chosen(data, folders)]
    draw_sheet(rows, data.class_names).save(path)


def _chosen(data: "BaseDataModule", folders: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Choose images for a sheet, and say of each how well it agrees with its mask."""
    from wsss_zoo.drawing.choice import image_miou, spread, typical_and_worst
    from wsss_zoo.files.pseudo_labels import label_path, read_label

    ids = data.predict_ids()
    # Steps may label other images: of all there are, some may have no tags.
    common = [i for i in ids if all(label_path(f, i).exists() for f in folders.values())]
    judged = folders.get("preds", folders.get("pseudo_label"))
    classes: dict[str, set[str]] = {}
    scores: dict[str, float] = {}
    for image_id in spread(common or ids, _COMPARED):
        truth = _truth(image_id, data)
        classes[image_id] = _classes(image_id, truth, data)
        label = None if judged is None else read_label(judged, image_id)
        if label is not None and truth is not None and label.shape == truth.shape:
            scores[image_id] = image_miou(label, truth)
    typical, worst = typical_and_worst(classes, scores, _ROWS)
    notes = {image_id: f"mean IoU {score:.2f}" for image_id, score in scores.items()}
    return [(image_id, notes.get(image_id, "")) for image_id in [*typical, *reversed(worst)]]


def _classes(image_id: str, truth: NDArray[np.uint8] | None, data: "BaseDataModule") -> set[str]:
    """Classes of an image by its mask, else its tags."""
    if truth is None:
        tags = data.image_labels_of(image_id)
        return set() if tags is None else {*compress(data.fg_names, tags)}
    present = np.bincount(truth.ravel(), minlength=data.num_classes)[: data.num_classes]
    return {*compress(data.fg_names, present[int(data.background) :])}


def _data_of(step: Step, root: Path) -> "BaseDataModule":
    """Make the data module of a finished predict step, set up for its images."""
    from wsss_zoo.runs.data import make_data

    config = yaml.safe_load((root / step.name / CONFIG).read_text(encoding="utf-8"))
    # A linked run may name any class; one of the user's own must be in the recipe or typed, too.
    settings = json.dumps({"data": step.settings.get("data")})
    asked = given_settings(["--config", settings, *step.overrides]).get("data")
    data = make_data(config["data"], None if asked is None else str(asked.value))
    data.setup("predict")
    return data


def _row(
    image_id: str, note: str, data: "BaseDataModule", folders: Mapping[str, Path]
) -> "SheetRow":
    from wsss_zoo.callbacks import SheetRow
    from wsss_zoo.files.pseudo_labels import read_cam, read_label

    maps: dict[str, Any] = {
        field: read_cam(folder, image_id)[0] if field == "cam" else read_label(folder, image_id)
        for field, folder in folders.items()
        if field != "images"
    }
    image, truth = data.read_image(image_id), _truth(image_id, data)
    return SheetRow(image_id, image, truth=truth, note=note, **maps)


def _truth(image_id: str, data: "BaseDataModule") -> NDArray[np.uint8] | None:
    """The mask of an image; None where there is none, or one that no step has needed so far."""
    with suppress(OSError, ValueError):
        return data.read_mask(image_id)
    return None
