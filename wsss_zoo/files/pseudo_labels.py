"""A folder of pseudo-labels: the files between the method that writes them and the one that reads.

``<image_id>.png`` (palette PNG of the image's size, 255 = ignored), optionally
``cams/<image_id>.npz``, and ``manifest.json``, which is written last; see
`wsss_zoo.files.manifests`.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.decoding import UInt8Array, read_index_mask
from wsss_zoo.files.manifests import (
    HEADER,
    MANIFEST,
    Contents,
    Manifest,
    begin_folder_of,
    checked_id,
    read_manifest_of,
)

QUALITY = "quality.json"
#: Background threshold that was chosen for these labels.
THRESHOLD = "threshold.json"
CAMS = "cams"
_CONFIDENCE = "confidence"
_DELETE = "delete it with --labels.overwrite true"
LABELS = Contents("pseudo-labels", "label maps", ".png", "--labels.out_dir", _DELETE)


def voc_palette() -> UInt8Array:
    """Make the colours of PASCAL VOC: index 0 is black, 255 is cream, (256, 3) RGB.

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
    """Name the file of a label map; ValueError if the id would lead out of the folder."""
    return directory / f"{checked_id(image_id)}.png"


def cam_path(directory: Path, image_id: str) -> Path:
    """Name the file of activation maps; ValueError if the id would lead out of the folder."""
    return directory / CAMS / f"{checked_id(image_id)}.npz"


def write_label(
    directory: Path, image_id: str, label: UInt8Array, confidence: float | None = None
) -> None:
    """Write a label map, (H, W) uint8, as a palette PNG; it appears complete or not at all.

    The mean ``confidence`` of its pixels, in [0, 1], becomes a text of the file. ValueError if the
    map is of another kind, or the id would lead out of the folder.
    """
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ValueError(
            f"label map of {image_id} is {label.dtype} {label.shape}; expected uint8 (H, W)"
        )
    picture = Image.fromarray(label)
    picture.putpalette(voc_palette().tobytes())
    texts = PngInfo()
    if confidence is not None:
        texts.add_text(_CONFIDENCE, f"{confidence:.6f}")
    with replacing(label_path(directory, image_id)) as unfinished:
        picture.save(unfinished, "PNG", pnginfo=texts)


def read_label(directory: Path, image_id: str) -> UInt8Array:
    """Read an image's label map: class index per pixel, 255 = ignored, (H, W) uint8."""
    return read_index_mask(str(label_path(directory, image_id)))


def read_confidence(directory: Path, image_id: str) -> float | None:
    """Read the mean confidence of a label map; None where the file does not tell it."""
    path = label_path(directory, image_id)
    try:
        with Image.open(path) as picture:
            value = float(picture.info[_CONFIDENCE])
    except (KeyError, ValueError, TypeError):
        return None
    return value if 0 <= value <= 1 else None


def write_cam(
    directory: Path, image_id: str, cam: NDArray[np.floating[Any]], classes: NDArray[np.int64]
) -> None:
    """Write the activation maps of the classes an image has, one byte per value.

    ``cam`` are maps in [0, 1], (k, H, W), rounded to 1/255; ``classes`` are their foreground
    indices, from 0, (k,). ValueError if they do not fit or the id would lead out of the folder.
    """
    if cam.ndim != 3 or classes.shape != cam.shape[:1]:
        raise ValueError(
            f"CAM of {image_id} has shape {cam.shape} for classes of shape {classes.shape}; "
            "expected (k, H, W) and (k,)"
        )
    values = np.rint(255 * np.clip(cam, 0, 1)).astype(np.uint8)
    with replacing(cam_path(directory, image_id)) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, cam=values, classes=classes.astype(np.int64))


def read_cam(directory: Path, image_id: str) -> tuple[UInt8Array, NDArray[np.int64]]:
    """Read an image's activation maps: 255 times the value, (k, H, W), and foreground indices."""
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


def read_manifest(directory: Path, class_names: list[str] | None = None) -> Manifest:
    """Read the manifest of a finished folder of pseudo-labels; see `read_manifest_of`."""
    return read_manifest_of(directory, LABELS, class_names)


def begin_folder(
    directory: Path, manifest: Manifest, image_ids: list[str], *, overwrite: bool = False
) -> set[str]:
    """Begin or resume a folder of pseudo-labels; see `begin_folder_of`.

    With the manifest's option ``save_cams`` an image is done only if its activation maps are there
    too. ``overwrite`` deletes the labels that are there first.
    """
    save_cams = manifest.options.get("save_cams")

    def is_done(image_id: str) -> bool:
        label, cam = label_path(directory, image_id), cam_path(directory, image_id)
        return label.exists() and (not save_cams or cam.exists())

    delete = _delete_labels if overwrite else None
    return begin_folder_of(directory, LABELS, manifest, image_ids, is_done, delete)


def _delete_labels(directory: Path) -> None:
    # From finished to begun to gone: a kill in between leaves a folder that says what it is.
    if (directory / MANIFEST).exists():
        (directory / MANIFEST).replace(directory / HEADER)
    for path in directory.rglob("*.png"):
        path.unlink()
    shutil.rmtree(directory / CAMS, ignore_errors=True)
    for name in (QUALITY, THRESHOLD, HEADER):
        (directory / name).unlink(missing_ok=True)
