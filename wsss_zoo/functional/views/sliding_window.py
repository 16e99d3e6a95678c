"""Sliding windows that cover an image."""

from typing import Literal

LastWindow = Literal["shift", "truncate"]


def sliding_windows(
    height: int, width: int, crop: int, stride: int, last: LastWindow = "shift"
) -> list[tuple[int, int, int, int]]:
    """List square windows that together cover every pixel of an image.

    The last window of a row or column is either shifted back to the full crop, or kept in place and
    cut off by the image. A side not longer than the crop has one window, which ends with the image.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        crop: Side of a window, in pixels.
        stride: Step between windows, in pixels, at most `crop`.
        last: "shift" (charlesCXK/TorchSemiSeg) or "truncate" (LiheYoung/UniMatch).

    Returns:
        (y0, x0, y1, x1) of each window, row by row, ends exclusive.

    Raises:
        ValueError: If a number is below 1, the stride exceeds the crop, or `last` is unknown.

    >>> sliding_windows(4, 7, crop=4, stride=2)
    [(0, 0, 4, 4), (0, 2, 4, 6), (0, 3, 4, 7)]
    """
    for name, value in (("height", height), ("width", width), ("crop", crop), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give a number of pixels >= 1")
    if stride > crop:
        raise ValueError(f"stride {stride} is larger than crop {crop} and leaves gaps; lower it")
    if last not in ("shift", "truncate"):
        raise ValueError(f"last is {last!r}; give 'shift' or 'truncate'")
    return [
        (y0, x0, min(y0 + crop, height), min(x0 + crop, width))
        for y0 in _starts(height, crop, stride, last)
        for x0 in _starts(width, crop, stride, last)
    ]


def _starts(length: int, crop: int, stride: int, last: LastWindow) -> list[int]:
    end = max(length - crop, 0)
    steps = -(-end // stride)
    return [*range(0, end, stride), end if last == "shift" else steps * stride]
