"""Windows that cover an image."""


def sliding_windows(
    height: int, width: int, crop: int, stride: int
) -> list[tuple[int, int, int, int]]:
    """List square windows that together cover every pixel of an image.

    The last window of a row or column is shifted back, so that every window has the full crop.
    Along a side that is not longer than the crop there is one window, which ends with the image.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        crop: Side of a window, in pixels.
        stride: Step between windows, in pixels, at most `crop`.

    Returns:
        (y0, x0, y1, x1) of each window, row by row, ends exclusive.

    Raises:
        ValueError: If a number is below 1, or the stride is larger than the crop and would leave
            gaps.

    As charlesCXK/TorchSemiSeg evaluates; LiheYoung/UniMatch truncates the last window instead.

    >>> sliding_windows(4, 7, crop=4, stride=2)
    [(0, 0, 4, 4), (0, 2, 4, 6), (0, 3, 4, 7)]
    """
    for name, value in (("height", height), ("width", width), ("crop", crop), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give a number of pixels >= 1")
    if stride > crop:
        raise ValueError(f"stride {stride} is larger than crop {crop} and leaves gaps; lower it")
    return [
        (y0, x0, min(y0 + crop, height), min(x0 + crop, width))
        for y0 in _starts(height, crop, stride)
        for x0 in _starts(width, crop, stride)
    ]


def _starts(length: int, crop: int, stride: int) -> list[int]:
    last = max(length - crop, 0)
    return [*range(0, last, stride), last]
