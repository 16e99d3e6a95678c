"""Which values and bands of an image file are shown as red, green and blue.

Eight bits say it themselves: 0 is black, 255 white. Other samples do not: 12 bits of a camera lie
in 16, reflectances are floating-point numbers, a satellite's image has five bands.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Bands = tuple[int, int, int]

_WHITE = 255


class PixelsRefusedError(ValueError):
    """The pixels of an image file have no one meaning; the message names the way out."""


@dataclass(frozen=True)
class PixelOptions:
    """What a data set says about its image files.

    Args:
        value_range: Values of black and white; only of samples that are not 8 bits. Values outside
            are clipped.
        bands: Numbers of the bands that are shown as red, green and blue, from 1.
    """

    value_range: Range | None = None
    bands: Bands | None = None

    def state(self) -> dict[str, list[float] | list[int]]:
        """Return what is stated, as plain lists by name, for checkpoints and manifests."""
        return {name: list(value) for name, value in vars(self).items() if value is not None}


#: Nothing is stated.
AS_STORED = PixelOptions()


def make_pixel_options(
    value_range: Sequence[Any] | None = None, bands: Sequence[Any] | None = None
) -> PixelOptions:
    """Check what a user stated, and make `PixelOptions` of it.

    ValueError if ``value_range`` is not two rising finite numbers, or ``bands`` are not three whole
    numbers from 1.

    >>> make_pixel_options([0, 4095]).state()
    {'value_range': [0, 4095]}
    """
    if value_range is not None:
        numbers = [v for v in value_range if isinstance(v, int | float) and math.isfinite(v)]
        if len(value_range) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise ValueError(
                f"value_range is {list(value_range)}; give the values of black and white, as "
                "[0, 4095]"
            )
    if bands is not None and (
        len(bands) != 3 or not all(type(number) is int and number >= 1 for number in bands)
    ):
        raise ValueError(
            f"bands is {list(bands)}; give the numbers, from 1, of the three bands to show as red, "
            "green and blue, as [1, 2, 3]"
        )
    return PixelOptions(
        None if value_range is None else (value_range[0], value_range[1]),
        None if bands is None else (bands[0], bands[1], bands[2]),
    )


def options_from_state(state: object) -> PixelOptions:
    """Restore `PixelOptions` from what `PixelOptions.state` returned; ValueError if damaged."""
    fields = state if isinstance(state, Mapping) else {}
    return make_pixel_options(fields.get("value_range"), fields.get("bands"))


def decide_range(kind: str, bits: int, largest: float) -> Range | None:
    """Find black and white of samples by the largest value of a file; None if it does not tell.

    Unsigned integers that use the highest bit use them all. Anything below may be a camera's 10, 12
    or 14 bits, or a dark image.

    >>> decide_range("u", 16, 40_000)
    (0, 65535)
    >>> decide_range("u", 16, 4095)
    """
    return (0, 2**bits - 1) if kind == "u" and largest >= 2 ** (bits - 1) else None


def suggest_range(kind: str, smallest: float, largest: float) -> Range:
    """Guess which black and white a user may have meant by the values that occur.

    >>> suggest_range("u", 3, 4012), suggest_range("f", 0.01, 0.9), suggest_range("i", -1000, 3000)
    ((0, 4095), (0, 1), (-1000, 3000))
    """
    if smallest < 0:
        return (smallest, largest) if smallest < largest else (smallest, smallest + 1)
    if kind == "f":
        return (0, 1) if largest <= 1 else (0, 255) if largest <= 255 else (0, math.ceil(largest))
    return (0, 2 ** max(8, math.ceil(largest).bit_length()) - 1)


def scale(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Scale samples of any shape so that ``black`` becomes 0 and ``white`` 255; others clip.

    Values between are rounded; of 16 bits that are used in full the upper eight are kept.

    >>> scale(np.array([0, 819, 4095, 5000], np.uint16), 0, 4095).tolist()
    [0, 51, 255, 255]
    """
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        if (black, white) == (0, 2**16 - 1):
            upper: NDArray[np.uint8] = (values >> 8).astype(np.uint8)
            return upper
        # A table is faster than arithmetic, and needs no copy as floating-point numbers.
        table: NDArray[np.uint8] = _scale(np.arange(2**16), black, white)
        return table.take(values)
    return _scale(values, black, white)


def _scale(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    share = (values.astype(np.float64) - black) / (white - black)
    scaled: NDArray[np.uint8] = np.floor(share.clip(0, 1) * _WHITE + 0.5).astype(np.uint8)
    return scaled
