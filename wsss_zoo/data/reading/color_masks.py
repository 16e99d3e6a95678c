"""Masks whose colours mean classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.data.reading.class_entries import Color
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.files.decoding import UInt8Array, open_mask

Keys = NDArray[np.integer[Any]]


class ColorTable:
    """Class index (255 = ignored) by colour; there must be at least one."""

    def __init__(self, colors: Mapping[Color, int]) -> None:
        keys = np.array([red | green << 8 | blue << 16 for red, green, blue in colors], np.uint32)
        order = keys.argsort()
        # The last one is no colour: every place that a search can give exists.
        self._keys = np.append(keys[order], np.uint32(1 << 24))
        self._indices = np.append(np.array(list(colors.values()), np.uint8)[order], np.uint8(255))

    def read(self, path: str) -> UInt8Array:
        """Read the class index per pixel of a mask, (H, W), 255 = ignored, upright.

        The mask may be a palette, grey or RGB image. The colour below transparent pixels counts.

        Raises:
            ValueError: If a colour is not in the table, the file may have losses, or a colour is
                transparent in some pixels and opaque in others: then opacity is part of the mask.
        """
        image = open_mask(path)
        if image.mode.startswith("I"):
            raise ValueError(
                f"{path} is a mask of 16 bits, which has no colours; remove the colours from the "
                "list of classes if it holds class indices"
            )
        keys, values = _color_keys(image)
        if image.mode in ("RGBA", "LA", "PA"):
            _refuse_opacity(path, keys, np.asarray(image.getchannel("A")))
        places = np.searchsorted(self._keys, keys)
        known = self._keys[places] == keys
        indices: UInt8Array = self._indices[places]
        if values is not None:
            known, indices = known[values], indices[values]
        if not known.all():
            pixels = keys if values is None else keys[values]
            raise ValueError(self._unknown(path, pixels[~known]))
        return indices

    def _unknown(self, path: str, wrong: Keys) -> str:
        found, counts = np.unique(wrong, return_counts=True)
        most = counts.argmax()
        key, others = int(found[most]), len(found) - 1
        red, green, blue = key & 255, key >> 8 & 255, key >> 16
        more = f" and {others} more unknown colours ({wrong.size} pixels in all)" if others else ""
        index = red == green == blue < len(self._keys) - 1
        hint = "; if it holds class indices, remove the colours from the list" if index else ""
        return (
            f"{path} has {counts[most]} pixels of the colour {red} {green} {blue} "
            f"(#{red:02x}{green:02x}{blue:02x}){more}, which the list of classes does not name; "
            f"name it there (as 'ignore' for 255) or correct the mask{hint}"
        )


@dataclass(frozen=True)
class ColorMaskFiles(ImageFiles):
    """Image files with masks whose colours mean classes.

    ``index_map`` has a class index for each class of ``table``.
    """

    table: ColorTable = field(kw_only=True)

    def read_values(self, path: str) -> UInt8Array:
        """Read the class of the table per pixel, (H, W)."""
        return self.table.read(path)


def _refuse_opacity(path: str, keys: Keys, opacity: UInt8Array) -> None:
    """Refuse a mask in which pixels of one colour differ in opacity, (H, W)."""
    clear = opacity < 128
    if clear.all() or not clear.any():
        return
    both = np.intersect1d(keys[clear], keys[~clear])
    if both.size:
        key = int(both[0])
        of_color = keys == key
        raise ValueError(
            f"{path} has {np.count_nonzero(clear & of_color)} transparent and "
            f"{np.count_nonzero(~clear & of_color)} opaque pixels of the colour {key & 255} "
            f"{key >> 8 & 255} {key >> 16}; opacity is not read, so that they would be one class: "
            "save the mask without opacity, classes as colours"
        )


def _color_keys(image: Image.Image) -> tuple[Keys, UInt8Array | None]:
    """Red + 256 green + 65536 blue of each pixel; or of the palette's colours, and its indices."""
    if image.mode == "P":
        palette = np.zeros((1, 256, 3), np.uint8)
        colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[0, : len(colors)] = colors
        return _color_keys(Image.fromarray(palette))[0][0], np.array(image)
    colored = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
    # Four bytes of a pixel read as one number, several times as fast as adding up channels.
    keys: Keys = np.asarray(colored.convert("RGBA")).view("<u4")[..., 0] & np.uint32(0xFFFFFF)
    return keys, None
