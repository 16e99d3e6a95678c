"""``wsss-zoo audit``: which given masks and tags are probably wrong."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.arguments.given import given_settings
from wsss_zoo.data import BaseDataModule
from wsss_zoo.data.reading.class_files import find_class_file
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.data.transforms.joint import to_float
from wsss_zoo.deploy.load import load
from wsss_zoo.drawing.contact_sheet import Tile, draw_contact_sheet
from wsss_zoo.files.atomic import replacing, write_atomic
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.functional.labeling.folds import assign_folds
from wsss_zoo.functional.labeling.mask_faults import Fault
from wsss_zoo.functional.labeling.tag_faults import class_presence
from wsss_zoo.labeling.opened_run import find_run, read_run
from wsss_zoo.labeling.predictions import predict
from wsss_zoo.labeling.subsets import (
    check_options,
    check_repeatable,
    supervision_of_run,
    train_on_subsets,
)
from wsss_zoo.labeling.suspects import Kind, Suspect, mask_faults, rank_suspects, worst_images
from wsss_zoo.runs.checkpoints.segmenter import load_method
from wsss_zoo.runs.data import make_data

TABLE, SUSPECTS, TRUSTED, SHEET = "audit.csv", "suspects.txt", "trusted.txt", "audit.png"
# What a bare data set is audited with: a small network, minutes on a CPU.
_NETWORK = {"backbone": "tf_efficientnet_lite0", "weights": "imagenet", "freeze_backbone_bn": True}
_DATA = {"crop_size": 224, "batch_size": 8}
_STEPS = 600
_SHOWN = 10  # rows of the printed table


@dataclass
class _Found:
    """What the networks say of all images."""

    masks: dict[str, dict[Kind, Fault]]
    presence: dict[str, NDArray[np.float64]]


def audit_labels(
    run_or_data: Path,
    *,
    folds: int = 3,
    count: int = 20,
    out: Path | None = None,
    root: str | None = None,
    seed: int = 0,
    other_options: Sequence[str] = (),
) -> int:
    """Find the given masks and tags that are probably wrong.

    Trains once for each fold of the labelled images, and compares their labels with what the
    network says that has not seen them. Of a run its method and settings are repeated; a folder of
    images gets a small Supervised, or CAM where there are tags only. Run it again after an
    interruption: finished folds are kept.

    OUT/audit.csv has all scores, OUT/audit.png the worst masks beside the predictions,
    OUT/suspects.txt the worst images, OUT/trusted.txt the training images without them, for
    --data.train_split.

    Further options are those of the trainings (--trainer.max_steps 1000 --model.weights FILE).

    This is not --data.audit, which logs the accuracy of pseudo-labels by masks known to be true.

    Args:
        run_or_data: Folder of a run, or of images as for --data Folder.
        folds: Parts of the labelled images; each is judged by a network trained on the others.
        count: Images on the sheet and in suspects.txt.
        out: Folder to write; default AUDIT in the run, or RUN_OR_DATA_audit beside the images.
        root: Folder of the run's data set, where it is not where it was in training.
        seed: Of the choice of folds.
        other_options: Options of the trainings, as typed.

    Returns:
        0.

    Raises:
        UsageError: If an option, the run or the data set cannot be used.
        RuntimeError: If a training failed.
    """
    with usage_errors():
        if count < 1:
            raise ValueError(f"count is {count}; give at least 1 image")
        check_options(other_options)
        config, directory = _settings_of(run_or_data, root, other_options)
        directory = out or directory
        data = make_data(config["data"])
        data.prepare_data()
        data.check_classes()
        masked, tagged = _labeled(data)
        if not masked:
            config = _with_tag_method(config)
        check_repeatable(config)
        if supervision_of_run(config) == "image_labels":
            masked = []
        judged = masked or tagged
        if not 2 <= folds <= len(judged):
            raise ValueError(
                f"folds is {folds}, and {len(judged)} images have "
                f"{'masks' if masked else 'tags'}; give a number from 2 to that, or label more"
            )
        check_output_folder(directory, ["lists", "runs"], [TABLE, SUSPECTS, TRUSTED, SHEET])
        data.check_images(judged, masks=bool(masked))
    labels = data.labels_of(judged, from_masks=True)
    parts = assign_folds(np.stack([labels[i] for i in judged]), folds, seed)
    fold_of = {image_id: int(part) for image_id, part in zip(judged, parts, strict=True)}
    subsets = {f"fold_{n}": [i for i in judged if fold_of[i] != n] for n in range(folds)}
    checkpoints = list(train_on_subsets(config, subsets, data, directory, other_options).values())
    # Images with tags only are in no fold: any network has not seen them.
    others = [i for i in tagged if i not in fold_of]
    fold_of |= {image_id: n % folds for n, image_id in enumerate(others)}
    console = Console()
    look = _segment if masked else _classify
    found = _Found({}, {})
    for n, path in enumerate(checkpoints):
        ids = [image_id for image_id, fold in fold_of.items() if fold == n]
        text = f"judging fold {n + 1} of {folds}"
        look(path, data, track(ids, text, console=console, transient=True), found)
    tags = data.labels_of(tagged, from_masks=False) if tagged else {}
    first_fg = int(data.background)
    suspects = rank_suspects(found.masks, found.presence, tags, data.class_names, first_fg)
    worst = worst_images(suspects, count)
    _write(directory, suspects, list(worst), data)
    sheet = _tiles(worst, fold_of, checkpoints, data, bool(masked))
    _draw(directory / SHEET, sheet, data, f"{len(worst)} most suspicious of {len(fold_of)} images")
    console.print(_table(suspects[:_SHOWN]))
    for line in _summary(directory, len(masked), len(tags), worst):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _settings_of(
    run_or_data: Path, root: str | None, options: Sequence[str]
) -> tuple[dict[str, Any], Path]:
    """Take the settings of a run, or make those of a folder of images; and where to write."""
    if run_or_data.is_dir() and find_class_file(run_or_data).is_file():
        if root is not None:
            raise ValueError(f"root is {root}, but {run_or_data} is itself the data set")
        folder = {"class_path": "Folder", "init_args": {"root": str(run_or_data), **_DATA}}
        config: dict[str, Any] = {"data": folder, "trainer": {"max_steps": _STEPS}}
        config["model"] = {"class_path": "Supervised", "init_args": _NETWORK}
        name = f"{run_or_data.absolute().name}_audit"
        directory = run_or_data.absolute().with_name(name)
    else:
        folder_of_run = find_run(run_or_data)
        config, directory = read_run(folder_of_run, root), folder_of_run / "audit"
    # What the trainings are told of the data holds for the judgement, too.
    given = given_settings(options)
    changed = {
        key.removeprefix("data."): _value(setting.value)
        for key, setting in given.items()
        if key.startswith("data.")
    }
    init_args = {**(config["data"].get("init_args") or {}), **changed}
    return {**config, "data": {**config["data"], "init_args": init_args}}, directory


def _value(text: Any) -> Any:
    return yaml.safe_load(text) if isinstance(text, str) else text


def _with_tag_method(config: dict[str, Any]) -> dict[str, Any]:
    """Judge a folder without masks by CAM; a run has its own method."""
    if config["model"].get("init_args") is not _NETWORK:
        return config
    return {**config, "model": {"class_path": "CAM", "init_args": {**_NETWORK, "lr": 1e-4}}}


def _labeled(data: BaseDataModule) -> tuple[list[str], list[str]]:
    """List the images of all splits that have masks, and those that have tags of their own."""
    splits = [data.train_split, *data.held_out_splits()]
    ids = list(dict.fromkeys(i for split in splits for i in data.ids_of(split)))
    source = data.source
    if isinstance(source, ImageFiles):
        masked = [image_id for image_id in ids if image_id in source.masks]
    else:
        masked = ids
    if data.labeled_split is not None:
        # Other masks are hidden from the run; nobody asked for them.
        allowed = {*data.labeled_ids(), *(i for s in splits[1:] for i in data.ids_of(s))}
        masked = [image_id for image_id in masked if image_id in allowed]
    tags = {} if data.tags_show_masks else data.read_tags(ids)
    tagged = [image_id for image_id in ids if image_id in tags]
    if not masked and not tagged:
        raise ValueError(
            f"none of the {len(ids)} images has a mask or tags: there is nothing to audit; label "
            "some first ('wsss-zoo next RUN' says which)"
        )
    return masked, tagged


def _segment(path: Path, data: BaseDataModule, ids: Iterable[str], found: _Found) -> None:
    """Compare masks with a segmenter's probabilities; without a mask, keep what tags need."""
    segmenter, first_fg = load(path), int(data.background)
    for shown in predict(segmenter, data, ids):
        mask = data.read_mask(shown.image_id)
        if mask is not None:
            found.masks[shown.image_id] = mask_faults(shown.probs, mask, first_fg)
        found.presence[shown.image_id] = class_presence(shown.probs, first_fg)


def _classify(path: Path, data: BaseDataModule, ids: Iterable[str], found: _Found) -> None:
    """Score tags by a classifier of tags."""
    method = load_method(str(path)).eval()
    for image_id in ids:
        image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            scores = method(to_float(image.contiguous()))[0].sigmoid()
        found.presence[image_id] = scores.double().numpy()


def _write(
    directory: Path, suspects: Sequence[Suspect], worst: Sequence[str], data: BaseDataModule
) -> None:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image_id", "kind", "rank", "score", "given", "suspected"])
    for s in suspects:
        rows.writerow([s.image_id, s.kind, s.rank, f"{s.score:.6f}", s.given, s.suspected])
    write_atomic(directory / TABLE, text.getvalue())
    write_split(directory / SUSPECTS, worst)
    left_out = set(worst)
    trusted = [i for i in data.ids_of(data.train_split) if i not in left_out]
    write_split(directory / TRUSTED, trusted)


def _tiles(
    worst: Mapping[str, Suspect],
    fold_of: Mapping[str, int],
    checkpoints: Sequence[Path],
    data: BaseDataModule,
    segments: bool,
) -> list[Tile]:
    """Draw the given mask of each image, and beside it the prediction."""
    preds: dict[str, NDArray[np.uint8]] = {}
    if segments:
        for n, path in enumerate(checkpoints):
            ids = [image_id for image_id in worst if fold_of[image_id] == n]
            for shown in predict(load(path), data, ids) if ids else ():
                preds[shown.image_id] = shown.probs.argmax(0).astype(np.uint8)
    return list(_pairs(worst, data, preds))


def _pairs(
    worst: Mapping[str, Suspect], data: BaseDataModule, preds: Mapping[str, NDArray[np.uint8]]
) -> Iterator[Tile]:
    tags = data.labels_of(list(worst), from_masks=False)
    for image_id, suspect in worst.items():
        image = data.read_image(image_id)
        names = None
        if image_id in tags and not data.tags_show_masks:
            names = [n for n, t in zip(data.fg_names, tags[image_id], strict=True) if t]
        mask = data.read_mask(image_id) if preds else None
        yield Tile(image_id, image, mask, names, str(suspect))
        if image_id in preds:
            note = "by a network that has not seen it"
            yield Tile(f"predicted: {image_id}", image, preds[image_id], note=note)


def _draw(path: Path, tiles: Sequence[Tile], data: BaseDataModule, title: str) -> None:
    sheet: Image.Image = draw_contact_sheet(
        tiles, data.class_names, title=title, first_fg=int(data.background)
    )
    with replacing(path) as unfinished:
        sheet.save(unfinished, "PNG")


def _table(suspects: Sequence[Suspect]) -> Table:
    table = Table(title="probably wrong", title_justify="left")
    for column in ("image", "kind", "sign"):
        table.add_column(column)
    for suspect in suspects:
        table.add_row(Text(suspect.image_id), suspect.kind, Text(str(suspect)))
    return table


def _summary(directory: Path, masks: int, tags: int, worst: Mapping[str, Suspect]) -> Iterator[str]:
    yield f"{masks} masks and the tags of {tags} images were judged: {directory / TABLE}"
    yield f"look at {directory / SHEET}; the {len(worst)} worst are in {directory / SUSPECTS}"
    yield f"to train without them: --data.train_split {directory / TRUSTED}"
