"""``wsss-zoo next``: which images to label next, with pre-labels and a forecast."""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.deploy.preannotations import Tool, write_preannotations
from wsss_zoo.drawing.contact_sheet import Tile, draw_contact_sheet
from wsss_zoo.files.atomic import replacing, write_atomic
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.outputs import check_output_folder
from wsss_zoo.functional.labeling.tag_faults import class_presence
from wsss_zoo.functional.labeling.uncertainty import fit_temperature, pixel_entropy, scale_probs
from wsss_zoo.labeling.forecast import Forecast, check_forecast, make_forecast
from wsss_zoo.labeling.opened_run import OpenedRun, open_run
from wsss_zoo.labeling.pool import LabelKind, Pool, find_pool
from wsss_zoo.labeling.predictions import Predicted, predict
from wsss_zoo.labeling.ranking import rank_images
from wsss_zoo.labeling.specks import without_specks
from wsss_zoo.labeling.subsets import check_options

log = logging.getLogger(__name__)

TABLE, LIST, SHEET = "next.csv", "next.txt", "next.png"
# Validation images, and pixels of each, that the temperature is fitted on.
_CALIBRATION = 100, 500


@dataclass(frozen=True)
class NextImage:
    """An image to label, in the order of their use.

    Args:
        image_id: The image.
        uncertainty: Mean entropy of its pixels (of its tags, with kind "tags") by calibrated
            probabilities, as a share of the largest possible one.
        need: 1, and what it probably shows of classes that lack labels; see `image_needs`.
        shows: Classes that are tagged, else predicted with a presence of 1/2 or more.
    """

    image_id: str
    uncertainty: float
    need: float
    shows: tuple[str, ...]


@dataclass
class _Seen:
    """What the network says of the candidates."""

    uncertainty: list[float]
    presence: list[NDArray[np.float64]]
    features: list[NDArray[np.float32]]


def choose_next(
    run: Path,
    *,
    count: int = 20,
    kind: LabelKind = "masks",
    forecast: bool = False,
    to: Tool | None = None,
    image_url: str = "/data/local-files/?d=",
    out: Path | None = None,
    root: str | None = None,
    other_options: Sequence[str] = (),
) -> int:
    """Choose the images to label next.

    Ranks the training images without such a label: those that the network is unsure of, that show
    classes that lack labels, and that are unlike the labelled ones and each other.

    OUT/next.txt lists them, the most useful first, OUT/next.csv says why, OUT/next.png shows them
    with the prediction. With --to the predictions become pre-labels for a tool, in OUT/labelme,
    OUT/cvat, ...

    Args:
        run: Folder of a run of a segmenter, its checkpoint, or the folder of wsss-zoo train.
        count: Number of images to choose.
        kind: Labels that you are going to make: those without are ranked.
        forecast: Train the run's method on a quarter and on half of its masks, too, and forecast
            from the three results what COUNT more masks bring. Further options are those of these
            trainings (--trainer.max_steps 500).
        to: Tool to write pre-labels for.
        image_url: What stands before the names of images for Label Studio, which sees no folders.
        out: Folder to write; default NEXT in the run.
        root: Folder of the data set, where it is not where it was in training.
        other_options: Options of the forecast's trainings, as typed.

    Returns:
        0.

    Raises:
        UsageError: If an option, the run or the data set cannot be used.
    """
    with usage_errors():
        if count < 1:
            raise ValueError(f"count is {count}; give at least 1 image")
        check_options(other_options)
        if other_options and not forecast:
            raise ValueError(f"{other_options[0]} is an option of the forecast; add --forecast")
        if to is not None and kind != "masks":
            raise ValueError(
                f"to is {to}, which takes masks, but kind is {kind}; leave --to out: next.csv "
                "names the predicted classes"
            )
        opened = open_run(run, root=root)
        pool = find_pool(opened, kind)
        directory = out or (run if run.is_dir() else opened.folder) / "next"
        check_output_folder(directory, [], [TABLE, LIST, SHEET])
        source = opened.data.source
        if to is not None and not isinstance(source, ImageFiles):
            raise ValueError(
                f"to is {to}, but the images of {type(opened.data).__name__} are no files"
            )
        opened.data.check_images([*pool.candidates, *pool.labeled], masks=False)
        if forecast:
            check_forecast(opened, pool)
    console = Console()
    _print_notes(opened, pool, count)
    counts = f"{len(pool.candidates)} images without {kind} and {len(pool.labeled)} with"
    console.print(f"looking at {counts}", markup=False, highlight=False, soft_wrap=True)
    temperature = calibrate(opened, console)
    chosen = rank_pool(opened, pool, min(count, len(pool.candidates)), temperature, console)
    _write_lists(directory, chosen)
    ids = [image.image_id for image in chosen]
    tiles, masks = _look(opened, chosen, temperature)
    title = f"the next {len(chosen)} of {len(pool.candidates)} images without {kind}"
    first_fg = int(opened.data.background)
    sheet = draw_contact_sheet(tiles, opened.data.class_names, title=title, first_fg=first_fg)
    with replacing(directory / SHEET) as unfinished:
        sheet.save(unfinished, "PNG")
    lines = [f"{title}: {directory / LIST}, reasons: {directory / TABLE}, {directory / SHEET}"]
    if to is not None:
        clean = {i: (without_specks(mask), sure) for i, (mask, sure) in masks.items()}
        written = _write_prelabels(directory, clean, opened, ids, to, image_url)
        lines.append(f"pre-labels for {to}: {written}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if forecast:
        _print_forecast(make_forecast(opened, pool, directory, other_options), count, console)
    return 0


def rank_pool(
    opened: OpenedRun, pool: Pool, count: int, temperature: float, console: Console | None = None
) -> list[NextImage]:
    """Rank the candidates of a pool; see `rank_images`.

    Args:
        opened: The run.
        pool: Its candidates and labelled images.
        count: Number of images to choose, at most that of the candidates.
        temperature: For `scale_probs`.
        console: Where to draw the progress; None draws none.
    """
    data, first_fg = opened.data, int(opened.data.background)
    tags = {} if data.tags_show_masks else data.labels_of(pool.candidates, from_masks=False)
    seen = _Seen([], [], [])
    for shown in _predict(opened, pool.candidates, "looking at the images", console):
        probs = scale_probs(torch.from_numpy(shown.probs), temperature)
        presence = class_presence(probs.numpy(), first_fg)
        if pool.kind == "tags":
            both = torch.from_numpy(np.stack([presence, 1 - presence]).clip(0, 1))
            entropy = pixel_entropy(both)
        else:
            entropy = pixel_entropy(probs) if len(probs) > 1 else torch.zeros(1)
        seen.uncertainty.append(float(entropy.mean().clamp(0, 1)))
        known = tags.get(shown.image_id)
        seen.presence.append((presence if known is None else known.astype(np.float64)).clip(0, 1))
        seen.features.append(shown.features)
    labeled = [
        shown.features
        for shown in _predict(opened, pool.labeled, "looking at the labelled ones", console)
    ]
    ranked = rank_images(
        np.stack(seen.features),
        seen.uncertainty,
        np.stack(seen.presence),
        count,
        labeled_features=np.stack(labeled) if labeled else None,
        class_counts=pool.class_counts,
    )
    return [
        NextImage(
            pool.candidates[image.index],
            image.uncertainty,
            image.need,
            tuple(
                name
                for name, p in zip(data.fg_names, seen.presence[image.index], strict=True)
                if p >= 0.5
            ),
        )
        for image in ranked
    ]


def calibrate(opened: OpenedRun, console: Console | None = None) -> float:
    """Fit the temperature on held-out masks; 1 where there are none."""
    data = opened.data
    split = data.val_split
    ids = [] if split is None else data.ids_of(split)
    if isinstance(data.source, ImageFiles):
        ids = [image_id for image_id in ids if image_id in data.source.masks]
    images, pixels = _CALIBRATION
    rng = np.random.default_rng(0)
    if len(ids) > images:
        ids = [ids[i] for i in sorted(rng.choice(len(ids), images, replace=False))]
    probs, target = [], []
    for shown in _predict(opened, ids, "calibrating", console):
        mask = data.read_mask(shown.image_id)
        if mask is None or not (mask != 255).any():
            continue
        known = np.flatnonzero(mask != 255)
        some = rng.choice(known, min(pixels, len(known)), replace=False)
        probs.append(shown.probs.reshape(len(shown.probs), -1)[:, some])
        target.append(mask.ravel()[some])
    if not probs:
        log.warning("no images are held out with masks: probabilities are not calibrated")
        return 1.0
    both = torch.from_numpy(np.concatenate(probs, 1)), torch.from_numpy(np.concatenate(target))
    return fit_temperature(both[0], both[1].long())


def _predict(
    opened: OpenedRun, ids: Sequence[str], text: str, console: Console | None
) -> Iterable[Predicted]:
    if console is None or not console.is_terminal:
        return predict(opened.segmenter, opened.data, ids) if ids else ()
    shown = track(ids, text, console=console, transient=True)
    return predict(opened.segmenter, opened.data, shown) if ids else ()


def _look(
    opened: OpenedRun, chosen: Sequence[NextImage], temperature: float
) -> tuple[list[Tile], dict[str, tuple[UInt8Array, UInt8Array]]]:
    """Draw the chosen images, and keep their masks and confidences."""
    tiles, masks = [], {}
    by_id = {image.image_id: image for image in chosen}
    data = opened.data
    tagged = set() if data.tags_show_masks else {*data.labels_of(list(by_id), from_masks=False)}
    for place, shown in enumerate(_predict(opened, list(by_id), "", None), 1):
        probs = scale_probs(torch.from_numpy(shown.probs), temperature)
        confidence, preds = probs.max(0)
        mask = preds.to(torch.uint8).numpy()
        masks[shown.image_id] = mask, (confidence * 255).round().to(torch.uint8).numpy()
        image = by_id[shown.image_id]
        note = f"{place}. unsure {image.uncertainty:.2f}"
        if image.image_id not in tagged:
            note += f"; seems: {', '.join(image.shows) or 'none of the classes'}"
        tags = image.shows if image.image_id in tagged else None
        tiles.append(Tile(shown.image_id, shown.image, mask, tags, note=note))
    return tiles, masks


def _write_lists(directory: Path, chosen: Sequence[NextImage]) -> None:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "image_id", "uncertainty", "need", "shows"])
    for rank, image in enumerate(chosen, 1):
        numbers = f"{image.uncertainty:.4f}", f"{image.need:.4f}"
        rows.writerow([rank, image.image_id, *numbers, ";".join(image.shows)])
    write_atomic(directory / TABLE, text.getvalue())
    write_split(directory / LIST, [image.image_id for image in chosen])


def _write_prelabels(
    directory: Path,
    masks: dict[str, tuple[UInt8Array, UInt8Array]],
    opened: OpenedRun,
    ids: Sequence[str],
    tool: Tool,
    image_url: str,
) -> Path:
    source = opened.data.files
    folder = LabelFolder(directory, {})
    for image_id, (mask, confidence) in masks.items():
        folder.write(image_id, mask, None)
        folder.write_confidence(image_id, confidence)
    images = {image_id: source.images[image_id] for image_id in ids}
    parents = {Path(path).parent for path in source.images.values()}
    root = Path(getattr(opened.data, "root", "."), "images")
    if not all(parent.is_relative_to(root) for parent in parents):
        root = min(parents, key=lambda path: len(path.parts))
    names, first_fg = opened.data.class_names, int(opened.data.background)
    return write_preannotations(
        folder, images, root, names, tool=tool, first_fg=first_fg, image_url=image_url
    )


def _print_notes(opened: OpenedRun, pool: Pool, count: int) -> None:
    newer = opened.is_older_than_masks()
    if newer:
        text = "%d masks are newer than %s, which has not learned from them; train again first"
        log.warning(text, newer, opened.checkpoint)
    if count > len(pool.candidates):
        text = "only %d images are without %s: all of them are listed"
        log.warning(text, len(pool.candidates), pool.kind)


def _print_forecast(found: Forecast, count: int, console: Console) -> None:
    for line in found.lines(count):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
