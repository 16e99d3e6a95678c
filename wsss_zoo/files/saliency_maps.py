"""Saliency maps as files: a grey ``<image_id>.png`` of the image's size, 255 = salient."""

from pathlib import Path

import numpy as np
from PIL import Image

from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.decoding import UInt8Array, open_image, read_rgb
from wsss_zoo.files.images.pixels import PixelOptions
from wsss_zoo.files.pseudo_labels import label_path

# A weak map is no map of fewer bits.
_SIXTEEN_BITS = PixelOptions(value_range=(0, 2**16 - 1))
_EIGHT_BITS = PixelOptions(value_range=(0, 2**8 - 1))


def write_saliency_map(directory: Path, image_id: str, saliency: UInt8Array) -> None:
    """Write a saliency map, (H, W) uint8; it appears complete or not at all."""
    with replacing(label_path(directory, image_id)) as unfinished:
        # The default level takes five times as long for files that are hardly smaller.
        Image.fromarray(saliency).save(unfinished, "PNG", compress_level=1)


def read_saliency_map(path: Path) -> UInt8Array:
    """Read a saliency map, (H, W) uint8, upright.

    A palette or colour file counts as grey if all its colours are. Of 16 bits the upper eight are
    kept. A file whose values may mean something else is refused.

    Raises:
        OSError: If the file is missing or cannot be decoded; the message names it.
        ValueError: If it has colours, transparent pixels, 16 bits with values below 256 only, or no
            values but 0 and 1.
    """
    image = open_image(str(path))
    if image.mode == "F":
        raise ValueError(
            f"{path} has floating-point pixels, which have no defined white; save it with 8 bits"
        )
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[:, :, 3].min() < 255:
        raise ValueError(
            f"{path} has transparent pixels, whose saliency is unknown; save the map as grey "
            "without transparency"
        )
    colors = read_rgb(str(path), _SIXTEEN_BITS)
    highest = 0 if colors.any() else int(read_rgb(str(path), _EIGHT_BITS).max())
    if highest:
        raise ValueError(
            f"{path} has 16 bits, but no value above {highest}: they seem to be values of 8 bits; "
            "save the map with 8 bits, or scale it to 65535"
        )
    grey: UInt8Array = colors[:, :, 0]
    if (colors != grey[:, :, None]).any():
        raise ValueError(
            f"{path} has colours; a saliency map is grey, from 0 (background) to 255: convert it"
        )
    if grey.max() == 1:
        raise ValueError(
            f"{path} holds no values but 0 and 1, while saliency goes from 0 to 255; multiply a "
            "mask of 0 and 1 by 255"
        )
    return grey
