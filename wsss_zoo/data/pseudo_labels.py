"""A folder of pseudo-labels: the files between the method that writes them and the one that reads.

``<image_id>.png`` (palette PNG of the image's size, 255 = ignored), optionally
``cams/<image_id>.npz``, and ``manifest.json``, which is written last: a folder without it is not
finished. While the folder is being written, ``manifest.partial.json`` says by which run.
"""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.data.image_files import UInt8Array, read_index_mask

MANIFEST = "manifest.json"
HEADER = "manifest.partial.json"
QUALITY = "quality.json"
CAMS = "cams"

_HASH_BLOCK = 1 << 20
_TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Manifest:
    """What a folder of pseudo-labels holds and where it comes from.

    Args:
        method: Class name of the method that made the labels.
        class_names: Names by class index, background first where the data set has one.
        count: Number of label maps.
        config_hash: Stands for everything but the weights that decides what the labels are.
        checkpoint_hash: SHA-256 of the checkpoint, or of the weights where there was none.
        options: How scores became labels: thresholds, CRF and so on (JSON values only).
        split: Name of the split that was gone over.
    """

    method: str
    class_names: list[str]
    count: int
    config_hash: str
    checkpoint_hash: str
    options: dict[str, Any]
    split: str


def voc_palette() -> UInt8Array:
    """The colours of PASCAL VOC: index 0 is black, 255 is cream, (256, 3) RGB.

    Bit i of the index goes to colour channel i mod 3, the lowest bits to the channel's highest.

    >>> voc_palette()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((index >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


def label_path(directory: Path, image_id: str) -> Path:
    """File of a label map; a ValueError if the id would lead out of the folder."""
    return directory / f"{_checked(image_id)}.png"


def cam_path(directory: Path, image_id: str) -> Path:
    """File of an image's activation maps; a ValueError if the id would lead out of the folder."""
    return directory / CAMS / f"{_checked(image_id)}.npz"


def write_label(directory: Path, image_id: str, label: UInt8Array) -> None:
    """Write a label map as a palette PNG; the file appears complete or not at all.

    Args:
        directory: Folder of the pseudo-labels, made when missing.
        image_id: Image the map belongs to.
        label: Class index per pixel, 255 = ignored, (H, W).

    Raises:
        ValueError: If the map is not (H, W) uint8, or the id would lead out of the folder.
    """
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(
            f"label map of {image_id} is {label.dtype} {label.shape}; expected uint8 (H, W)"
        )
    picture = Image.fromarray(label)
    picture.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_atomic(label_path(directory, image_id), buffer.getvalue())


def read_label(directory: Path, image_id: str) -> UInt8Array:
    """Label map of an image, class index per pixel, 255 = ignored, (H, W).

    Raises:
        OSError: If the file is missing or cannot be decoded; the message names it.
    """
    return read_index_mask(str(label_path(directory, image_id)))


def write_cam(
    directory: Path, image_id: str, cam: NDArray[np.floating[Any]], classes: NDArray[np.int64]
) -> None:
    """Write the activation maps of the classes an image has, one byte per value.

    Args:
        directory: Folder of the pseudo-labels, made when missing.
        image_id: Image the maps belong to.
        cam: Maps in [0, 1], (k, H, W); rounding to 1/255 moves a value by at most 0.002.
        classes: Foreground index, from 0, of each map, (k,).

    Raises:
        ValueError: If the shapes do not fit or the id would lead out of the folder.
    """
    if cam.ndim != 3 or classes.shape != cam.shape[:1]:
        raise ValueError(
            f"CAM of {image_id} has shape {cam.shape} for classes of shape {classes.shape}; "
            "expected (k, H, W) and (k,)"
        )
    buffer = io.BytesIO()
    values = np.rint(255 * np.clip(cam, 0, 1)).astype(np.uint8)
    np.savez_compressed(buffer, cam=values, classes=classes.astype(np.int64))
    write_atomic(cam_path(directory, image_id), buffer.getvalue())


def read_cam(directory: Path, image_id: str) -> tuple[UInt8Array, NDArray[np.int64]]:
    """Activation maps of an image: 255 times the value, (k, H, W), and foreground indices, (k,).

    Raises:
        OSError: If the file is missing or cannot be read; the message names it.
    """
    path = cam_path(directory, image_id)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays["cam"], arrays["classes"]
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is missing; write it with 'wsss-zoo predict --labels.save_cams true'"
        ) from None
    except Exception as error:  # numpy lets zipfile's and zlib's errors through
        raise OSError(f"{path} cannot be read ({error}); delete it and predict again") from error


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Declare a folder finished: write ``manifest.json``, then remove ``manifest.partial.json``."""
    write_json(directory / MANIFEST, dataclasses.asdict(manifest))
    (directory / HEADER).unlink(missing_ok=True)


def read_manifest(directory: Path, class_names: list[str] | None = None) -> Manifest:
    """Manifest of a finished folder, checked against the data set that will use it.

    Args:
        directory: Folder of pseudo-labels.
        class_names: Names by class index of the data set; None accepts any.

    Raises:
        FileNotFoundError: If there is no manifest: the folder is unfinished or somebody else's.
        ValueError: If the manifest is damaged, has other class names, or another number of label
            maps than the folder.
    """
    manifest = _find(directory / MANIFEST)
    if manifest is None:
        started = " (a run began it: the same command, started again, finishes it)"
        raise FileNotFoundError(
            f"{directory} has no {MANIFEST}: it was not finished or not written by wsss-zoo"
            f"{started if (directory / HEADER).exists() else ''}; write it with 'wsss-zoo predict'"
        )
    if class_names is not None and manifest.class_names != list(class_names):
        raise ValueError(
            f"the pseudo-labels in {directory} are for the classes {manifest.class_names}, the "
            f"data set has {list(class_names)}; predict them again with these classes"
        )
    count = sum(1 for _ in directory.rglob("*.png"))
    if count != manifest.count:
        raise ValueError(
            f"{directory} holds {count} label maps, its {MANIFEST} says {manifest.count}; files "
            "were lost or added: predict again into an empty folder"
        )
    return manifest


def begin_folder(
    directory: Path, manifest: Manifest, image_ids: list[str], *, overwrite: bool = False
) -> set[str]:
    """Take a folder for a run, whether it is new, begun or finished by the same run.

    Args:
        directory: Folder of pseudo-labels, made when missing.
        manifest: The manifest that the run will write. With option ``save_cams`` an image counts as
            done only if its activation maps are there too.
        image_ids: All images that the run goes over.
        overwrite: Delete the labels that are there first.

    Returns:
        Ids of the images that need no work. ``manifest.json`` exists afterwards if that is all of
        them and the run was finished; else ``manifest.partial.json`` does.

    Raises:
        ValueError: If the folder is another run's or holds other things than pseudo-labels.
    """
    finished, begun = _find(directory / MANIFEST), _find(directory / HEADER)
    found = finished or begun
    if found is None and directory.exists() and any(directory.iterdir()):
        raise ValueError(
            f"{directory} is not empty and holds no {MANIFEST}, so it is no folder of "
            "pseudo-labels; choose another one (--labels.out_dir)"
        )
    if found is not None and overwrite:
        _delete_labels(directory)
        finished = None
    elif found is not None and found != manifest:
        names = [field.name for field in dataclasses.fields(Manifest)]
        different = [name for name in names if getattr(found, name) != getattr(manifest, name)]
        raise ValueError(
            f"{directory} holds pseudo-labels of another run ({', '.join(different)} differ); "
            "choose another folder (--labels.out_dir) or delete it with --labels.overwrite true"
        )
    for leftover in directory.rglob(f".*{_TEMPORARY}"):
        leftover.unlink()
    done = {i for i in image_ids if label_path(directory, i).exists()}
    if manifest.options.get("save_cams"):
        done = {i for i in done if cam_path(directory, i).exists()}
    if finished is None or len(done) < len(image_ids):
        write_json(directory / HEADER, dataclasses.asdict(manifest))
        (directory / MANIFEST).unlink(missing_ok=True)
    return done


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write JSON, keys sorted; the file appears complete or not at all."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under a name of its own, force it to the disk, then rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            # Without it a power cut can leave the new name on an empty file.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _checked(image_id: str) -> str:
    parts = image_id.split("/")
    unsafe = any(part in ("", ".", "..") for part in parts) or "\\" in image_id
    if unsafe or "\0" in image_id or PurePosixPath(image_id).is_absolute():
        raise ValueError(
            f"image id {image_id!r} would lead out of its folder; use plain names, at most with "
            "sub-folders such as 'a/b'"
        )
    return image_id


def _find(path: Path) -> Manifest | None:
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no manifest ({error}); delete the folder") from error


def _delete_labels(directory: Path) -> None:
    # From finished to begun to gone: a kill in between leaves a folder that says what it is.
    if (directory / MANIFEST).exists():
        (directory / MANIFEST).replace(directory / HEADER)
    for path in directory.rglob("*.png"):
        path.unlink()
    shutil.rmtree(directory / CAMS, ignore_errors=True)
    for name in (QUALITY, HEADER):
        (directory / name).unlink(missing_ok=True)
