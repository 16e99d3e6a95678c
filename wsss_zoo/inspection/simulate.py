"""``wsss-zoo simulate``: draw the sparse labels of a benchmark from masks."""

import csv
import dataclasses
import io
import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from scipy.ndimage import label as connected

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.reading.simulated_labels import Simulation, SparseKind
from wsss_zoo.data.reading.sparse_files import SparseLabel
from wsss_zoo.files.atomic import read_json, write_atomic, write_json
from wsss_zoo.files.decoding import IGNORE_INDEX
from wsss_zoo.files.pseudo_labels import write_label

logger = logging.getLogger(__name__)

_SETTINGS = "simulation.json"
_FRAGMENT = 50  # pixels of a box that does not count
_THREADS = 4  # decoding releases the interpreter lock


def simulate_labels(
    *,
    data: BaseDataModule,
    kind: SparseKind,
    out: Path,
    seed: int = 0,
    clip: bool = True,
    error: float = 0.0,
    jitter: float = 0.0,
    share: float = 0.2,
) -> int:
    """Write the scribbles, points, boxes or blocks that a person may have drawn, from masks.

    The images are those of --data.train_split. Train on the result with --data.sparse_dir OUT. The
    same settings write the same bytes. Such labels never touch ignored pixels and, but for the
    options below, never err: say so beside a number.

    Args:
        data: The data set with masks.
        kind: What is drawn.
        out: Folder to write: sparse/<id>.png or boxes.csv, classes.json, and simulation.json, which
            counts the shapes.
        seed: Seed of the drawing.
        clip: Keep scribbles inside their class. False lets them leave it, as people's do.
        error: Share of points, in [0, 1], that miss their object.
        jitter: Standard deviation of the sides of boxes, as a share of their length.
        share: Share of the pixels that blocks show, in (0, 1].
    """
    data.prepare_data()
    simulation = Simulation(kind, seed, clip, error, jitter, share, data.background)
    ids = data.train_ids()
    data.check_images(ids, masks=True)
    settings = {
        **dataclasses.asdict(simulation),
        "data": type(data).__name__,
        "class_names": data.class_names,
        "image_ids": ids,
    }
    _claim(out, settings)
    write_json(out / "classes.json", data.class_names)

    def draw(image_id: str) -> SparseLabel:
        mask = data.source.read_mask(image_id)
        assert mask is not None
        label = simulation.label(mask, image_id)
        if kind != "boxes":
            write_label(out / "sparse", image_id, label.mask)
        return label

    console = Console()
    with ThreadPoolExecutor(_THREADS) as pool:
        drawn = track(pool.map(draw, ids), "drawing", len(ids), console=console, transient=True)
        labels = dict(zip(ids, drawn, strict=True))
    if kind == "boxes":
        write_atomic(out / "boxes.csv", _box_table(labels.items(), data.class_names))
    shapes = sum(_count_shapes(label) for label in labels.values())
    write_json(out / _SETTINGS, {**settings, "finished": True, "shapes": shapes})
    _print(console, out, labels, data.class_names)
    return 0


def _count_shapes(label: SparseLabel) -> int:
    """Count the strokes, points, rectangles or boxes: connected pixels of a class are one.

    Masks have fragments of a few pixels, around which nobody draws a box: these do not count.
    """
    shown = [index for index in np.unique(label.mask) if index != IGNORE_INDEX]
    pieces = [connected(label.mask == index, np.ones((3, 3)))[1] for index in shown]
    x0, y0, x1, y1 = label.boxes.T
    return int(((x1 - x0) * (y1 - y0) >= _FRAGMENT).sum()) + sum(pieces)


def _claim(out: Path, settings: dict[str, object]) -> None:
    """Begin a folder; ValueError if it holds anything but what the same settings wrote."""
    if out.is_dir() and any(out.iterdir()):
        found = read_json(out / _SETTINGS)
        found.pop("finished", None)
        if not found:
            raise ValueError(f"{out} is not empty; give a folder that does not exist yet")
        # As the file has them.
        wanted = json.loads(json.dumps(settings))
        others = [name for name in wanted if found.get(name) != wanted[name]]
        if others:
            raise ValueError(
                f"{out} holds labels of another {', '.join(others)}; give another folder, or "
                "delete this one"
            )
    write_json(out / _SETTINGS, {**settings, "finished": False})


def _box_table(labels: Iterable[tuple[str, SparseLabel]], names: list[str]) -> str:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image_id", "class", "x0", "y0", "x1", "y1"])
    for image_id, label in labels:
        for box, index in zip(label.boxes.tolist(), label.box_classes.tolist(), strict=True):
            rows.writerow([image_id, names[index], *(f"{side:.7g}" for side in box)])
    return table.getvalue()


def _print(
    console: Console, out: Path, labels: dict[str, SparseLabel], class_names: list[str]
) -> None:
    count = len(class_names)
    pixels = np.zeros(256, dtype=np.int64)
    images, boxes = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for label in labels.values():
        found: NDArray[np.int64] = np.bincount(label.mask.ravel(), minlength=256)
        pixels += found
        named = np.bincount(label.box_classes, minlength=count)
        boxes += named
        images += (found[:count] + named) > 0
    table = Table("class", "images", "boxes", "labelled pixels")
    for index, name in enumerate(class_names):
        numbers = (images[index], boxes[index], pixels[index])
        table.add_row(Text(name), *(f"{number:,}" for number in numbers))
    console.print(table)
    share = 100 * pixels[:count].sum() / max(1, pixels.sum())
    console.print(
        f"{len(labels)} images, {share:.2f} % of the pixels labelled: --data.sparse_dir {out}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
