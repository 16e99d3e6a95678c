"""``wsss-zoo reliability``: rank pseudo-labels by their stability over training (ST++)."""

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from wsss_zoo.files.atomic import write_atomic, write_json
from wsss_zoo.files.listing import files_by_stem
from wsss_zoo.files.manifests import Manifest
from wsss_zoo.files.pseudo_labels import read_label, read_manifest
from wsss_zoo.functional import image_reliability

RELIABLE, UNRELIABLE = "reliable.txt", "unreliable.txt"
TABLE, RESULT = "reliability.csv", "reliability.json"
_THREADS = 4  # decoding releases the interpreter lock


def list_reliable(
    *, earlier: list[str], last: str, out_dir: str = ".", reliable_share: float = 0.5
) -> int:
    """Rank pseudo-labelled images by the agreement of earlier checkpoints with the last (ST++).

    Writes reliable.txt and unreliable.txt: lists for --data.train_split and --data.predict_split.

    Args:
        earlier: Folders of label maps that earlier checkpoints predicted.
        last: Folder of those of the last checkpoint: same images, same classes.
        out_dir: Folder to write into.
        reliable_share: Share of the images, rounded down, that is called reliable, in (0, 1).
    """
    metrics = rank_images(earlier, last, out_dir, reliable_share)
    for name, value in metrics.items():
        print(f"{name}: {value:.4f}")
    print(f"lists: {Path(out_dir, RELIABLE)}, {Path(out_dir, UNRELIABLE)}")
    return 0


def rank_images(
    earlier: list[str], last: str, out_dir: str = ".", reliable_share: float = 0.5
) -> dict[str, float]:
    """Write the lists of reliable and unreliable images, a table of all, and the result.

    Arguments are those of `list_reliable`. ``reliability.csv`` has one row an image, the most
    reliable first. ``reliability.json`` comes last and marks the folder as finished.

    Returns:
        Mean reliability of all images and of the two parts, and the lowest that is called reliable.

    Raises:
        FileNotFoundError: If a folder is missing or not finished.
        ValueError: If classes, images or sizes differ, a folder is of the same checkpoint as
            ``last``, or one of the lists would be empty.
    """
    folders = [Path(folder) for folder in earlier]
    image_ids, manifest = _check(folders, Path(last))
    count = int(reliable_share * len(image_ids))
    if not 0 < count < len(image_ids):
        raise ValueError(
            f"reliable_share {reliable_share} of {len(image_ids)} images makes {count} reliable "
            "ones; neither list may be empty: give another share in (0, 1), or more images"
        )
    classes = len(manifest.class_names)
    with ThreadPoolExecutor(_THREADS) as pool:
        scores = list(pool.map(lambda i: _score(i, folders, Path(last), classes), image_ids))
    # Equal ones in the order of their ids, so that the lists are the same everywhere.
    ranked = sorted(zip(image_ids, scores, strict=True), key=lambda row: (-row[1], row[0]))
    values = np.array([score for _, score in ranked])
    metrics = {
        "reliability/mean": float(values.mean()),
        "reliability/reliable": float(values[:count].mean()),
        "reliability/unreliable": float(values[count:].mean()),
        "reliability/threshold": float(values[count - 1]),
    }
    _write(Path(out_dir), ranked, count)
    result = {"metrics": metrics, "images": len(ranked), "reliable": count}
    write_json(Path(out_dir, RESULT), result)
    return metrics


def _check(earlier: Sequence[Path], last: Path) -> tuple[list[str], Manifest]:
    if not earlier:
        raise ValueError("there is no folder of an earlier checkpoint; give --earlier '[FOLDER]'")
    manifest = read_manifest(last)
    image_ids = sorted(files_by_stem(last, [".png"]))
    for folder in earlier:
        other = read_manifest(folder, manifest.class_names)
        if other.checkpoint_hash == manifest.checkpoint_hash:
            raise ValueError(
                f"{folder} is of the same checkpoint as {last}: all images would agree; predict it "
                "with an earlier one (fit --checkpoint.keep_parts 3 keeps some)"
            )
        differing = set(image_ids) ^ set(files_by_stem(folder, [".png"]))
        if differing:
            raise ValueError(
                f"{folder} and {last} hold label maps of different images, {len(differing)} are in "
                f"one only, first: {', '.join(sorted(differing)[:3])}; predict the same split"
            )
    return image_ids, manifest


def _score(image_id: str, earlier: Sequence[Path], last: Path, num_classes: int) -> float:
    target = read_label(last, image_id)
    maps = [read_label(folder, image_id) for folder in earlier]
    sizes = {label.shape for label in [target, *maps]}
    if len(sizes) > 1:
        raise ValueError(f"label maps of {image_id} have the sizes {sorted(sizes)}; predict again")
    return image_reliability(
        torch.from_numpy(np.stack(maps)), torch.from_numpy(target), num_classes
    )


def _write(folder: Path, ranked: Sequence[tuple[str, float]], count: int) -> None:
    """Write the table and the lists; what an earlier call finished is unfinished meanwhile."""
    (folder / RESULT).unlink(missing_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image_id", "reliability"])
    rows.writerows((image_id, f"{score:.6f}") for image_id, score in ranked)
    write_atomic(folder / TABLE, table.getvalue())
    for name, part in ((RELIABLE, ranked[:count]), (UNRELIABLE, ranked[count:])):
        text = "".join(f"{image_id}\n" for image_id, _ in part)
        write_atomic(folder / name, text)
