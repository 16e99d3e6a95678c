"""Region maps as files: ``<image_id>.png`` or ``<image_id>.npz``, the id of each pixel's segment.

A PNG has one channel of 8 or 16 bits; of a palette file the index counts. An NPZ has one array
``segments``, or one of any name, of integers (H, W). Id 0 is no segment.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.decoding import open_mask
from wsss_zoo.files.manifests import checked_id

SUFFIXES = (".png", ".npz")
ARRAY = "segments"
_MOST = 2**16 - 1
_BYTE = 256  # ids that 8 bits hold

SegmentIds = NDArray[np.integer[Any]]


def write_segment_map(directory: Path, image_id: str, segments: SegmentIds) -> None:
    """Write segments (H, W) as a PNG of 16 bits; it appears complete or not at all.

    ValueError if ids are outside 0..65535, or the id would lead out of the folder.
    """
    lowest, highest = int(segments.min()), int(segments.max())
    if lowest < 0 or highest > _MOST:
        raise ValueError(
            f"segments of {image_id} have ids {lowest}..{highest}, but a PNG holds 0..{_MOST}; "
            "make fewer segments"
        )
    with replacing(directory / f"{checked_id(image_id)}.png") as unfinished:
        Image.fromarray(segments.astype(np.uint16)).save(unfinished, "PNG")


def find_segment_map(directory: Path, image_id: str) -> Path | None:
    """Find the file of an image's segments; None if there is none, ValueError if there are two."""
    paths = [directory / f"{checked_id(image_id)}{suffix}" for suffix in SUFFIXES]
    found = [path for path in paths if path.is_file()]
    if len(found) > 1:
        raise ValueError(f"there are both {found[0]} and {found[1].name}; delete one of them")
    return found[0] if found else None


def read_segment_map(path: Path) -> SegmentIds:
    """Read the id of each pixel's segment, (H, W), integers >= 0; 0 = no segment.

    Raises:
        OSError: If the file cannot be decoded; the message names it.
        ValueError: If it has colours, other numbers than integers >= 0, more than one map, or 8
            bits that seem to have cut higher ids: all 256 occur, and some in several places.
    """
    segments = _read_npz(path) if path.suffix == ".npz" else _read_png(path)
    if segments.min() < 0:
        raise ValueError(
            f"{path} holds the id {segments.min()}; number segments from 1, and give 0 to pixels "
            "that belong to none"
        )
    if _is_cut(segments):
        raise ValueError(
            f"{path} has all ids that 8 bits hold, and some of them in several places: ids above "
            "255 seem to have been cut, so that segments share an id; save it with 16 bits or as "
            "NPZ"
        )
    return segments


def lone_top_id(segments: SegmentIds) -> int | None:
    """Return the highest id of the map's type if it occurs and the id before does not.

    It often marks pixels without a segment: 255 in VOC's masks of objects, or -1 without a sign.
    """
    top = int(np.iinfo(segments.dtype).max)
    is_alone = bool((segments == top).any()) and not bool((segments == top - 1).any())
    return top if is_alone else None


def _is_cut(segments: SegmentIds) -> bool:
    if segments.dtype != np.uint8 or not np.bincount(segments.ravel(), minlength=_BYTE).all():
        return False
    # Slow to import, and hardly ever needed.
    from scipy import ndimage

    touching = np.ones((3, 3))
    return any(ndimage.label(segments == i, touching)[1] > 1 for i in range(_BYTE))


def _read_png(path: Path) -> SegmentIds:
    image = open_mask(str(path))
    if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
        raise ValueError(
            f"{path} has colours (mode {image.mode}); a region map has one integer id per pixel: "
            "save it as a grey PNG of 8 or 16 bits, or as NPZ"
        )
    values = np.array(image)
    return values.astype(np.uint8) if values.dtype == bool else values


def _read_npz(path: Path) -> SegmentIds:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            name = ARRAY if ARRAY in names else names[0] if len(names) == 1 else None
            segments = None if name is None else arrays[name]
    except Exception as error:  # numpy lets zipfile's and zlib's errors through
        raise OSError(f"{path} cannot be read ({error}); write it again") from error
    if segments is None:
        raise ValueError(f"{path} holds {', '.join(names) or 'nothing'}; name the map {ARRAY!r}")
    if segments.ndim != 2 or segments.size == 0 or not np.issubdtype(segments.dtype, np.integer):
        raise ValueError(
            f"{path} holds {segments.dtype} {segments.shape}; a region map is one array of "
            "integers (H, W): paint masks that overlap into one map, the smallest last"
        )
    found: SegmentIds = segments
    return found
