"""Run-length codes of masks: row by row (CVAT), column by column (COCO), and Label Studio's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsss_zoo.files.shapes.outlines import BoolArray

# Bits of a run's length in Label Studio's code, by the index that stands before it.
_SIZES = (3, 4, 8, 16)
_HEADER = 53  # bits before the first run
_WORD = 8
_LONGEST = 1 << 40  # pixels; sums of such runs are exact


def decode_rows(counts: Sequence[int], height: int, width: int) -> BoolArray:
    """Decode runs of 0, 1, 0, .. that go row by row, as in CVAT's masks.

    Args:
        counts: Lengths of the runs; the first is of zeros and may be 0.
        height: Rows H.
        width: Columns W.

    Returns:
        The mask, (H, W).

    Raises:
        ValueError: If a length is negative or no whole number, or they do not add up to H x W.

    >>> decode_rows([1, 2, 3], 2, 3).astype(int).tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    runs = _as_counts(counts)
    if height < 0 or width < 0 or int(runs.sum()) != height * width:
        raise ValueError(
            f"the run lengths add up to {int(runs.sum())}, but {height} rows of {width} pixels "
            f"have {height * width}; give the code and the size of one mask"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def encode_rows(mask: ArrayLike) -> list[int]:
    """Encode a mask, (H, W), as runs of 0, 1, 0, .. row by row; the first is of zeros, maybe 0.

    ValueError if it is no matrix.

    >>> encode_rows([[1, 1, 0], [0, 1, 1]])
    [0, 2, 2, 2]
    """
    pixels = _as_mask(mask).ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    return [0, *runs] if pixels.size and pixels[0] else runs


def decode_columns(counts: Sequence[int] | str, height: int, width: int) -> BoolArray:
    """Decode COCO's code, which goes column by column; a string is the compressed form.

    ValueError as in `decode_rows`, or if the string is damaged.
    """
    runs = _uncompress(counts) if isinstance(counts, str) else counts
    return decode_rows(runs, width, height).T


def encode_columns(mask: ArrayLike) -> str:
    """Encode a mask, (H, W), in COCO's compressed form; see `decode_columns`."""
    counts = encode_rows(_as_mask(mask).T)
    text = bytearray()
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            low, value = value & 31, value >> 5
            more = value != (-1 if low & 16 else 0)
            text.append(48 + low + 32 * more)
            if not more:
                break
    return text.decode()


def decode_brush(rle: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Decode the alpha channel of a brush stroke of Label Studio.

    The code is that of thi.ng's rle-pack over the RGBA image, row by row. Big-endian bits: 32 for
    the number of values (4 H W), 5 for the word size less one, four times 4 for the sizes of run
    lengths less one. Then until all values are there: 1 bit for a run, 2 for the index of a size,
    the length less one in so many bits, and one word for a run or ``length`` words.

    Args:
        rle: The bytes, 0..255 each.
        height: Rows H of the image.
        width: Columns W of the image.

    Returns:
        Alpha, (H, W); 255 is inside, the rim of a stroke lies between.

    Raises:
        ValueError: If the code is damaged or of another size.
    """
    try:
        code = bytes(rle)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the brush code is no list of bytes ({error}); export it again") from None
    header = int.from_bytes(code[:7], "big") >> 3
    number, word = header >> 21, (header >> 16 & 31) + 1
    sizes = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    if len(code) < 7 or word != _WORD or height < 1 or width < 1 or number != 4 * height * width:
        raise ValueError(
            f"the brush code of {len(code)} bytes holds {number} values of {word} bits, but an "
            f"image of {width}x{height} pixels (width x height) has {4 * height * width} of 8; "
            "give the size that it was drawn at"
        )
    values = np.zeros(number, np.uint8)
    bits = np.unpackbits(np.frombuffer(code, np.uint8))
    position, done = _HEADER, 0
    while done < number:
        window = int.from_bytes(code[position >> 3 : (position >> 3) + 4].ljust(4, b"\0"), "big")
        window = window << (position & 7) & 0xFFFFFFFF
        size = sizes[window >> 29 & 3]
        length = (window << 3 & 0xFFFFFFFF) >> (32 - size)
        is_run, length = window >> 31, length + 1
        position += 3 + size
        end = position + _WORD * (1 if is_run else length)
        if end > len(bits):
            raise ValueError(f"the brush code ends after {done} of {number} values; export again")
        words = np.packbits(bits[position:end])
        # What runs on behind the last value counts no more.
        values[done : done + length] = words if is_run else words[: number - done]
        position, done = end, done + length
    return values.reshape(height, width, 4)[:, :, 3].copy()


def encode_brush(mask: ArrayLike) -> list[int]:
    """Encode a mask, (H, W), for Label Studio, with 255 in all four channels where it is true.

    Byte for byte as by ``mask2rle`` of Label Studio's SDK; see `decode_brush`. ValueError if the
    mask is no matrix or has no pixel.
    """
    pixels = _as_mask(mask)
    if not pixels.size:
        raise ValueError(f"the mask has shape {pixels.shape}; give at least one pixel")
    counts = encode_rows(pixels)
    parts = [f"{4 * pixels.size:032b}{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for place, count in enumerate(counts):
        word = "1" * _WORD if place % 2 else "0" * _WORD
        whole, rest = divmod(4 * count - 1, 1 << 16) if count else (0, -1)
        parts += ["111" + "1" * 16 + word] * whole
        if rest >= 0:
            index = next(i for i, size in enumerate(_SIZES) if rest < 1 << size)
            parts.append(f"1{index:02b}{rest:0{_SIZES[index]}b}{word}")
    text = "".join(parts)
    # The SDK adds a byte where the last one is full.
    text += "0" * (8 - len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _as_counts(counts: Sequence[Any]) -> NDArray[np.int64]:
    try:
        runs = np.array(counts)
    except ValueError:
        runs = np.array(None)
    if runs.size == 0:
        return np.zeros(0, np.int64)
    if runs.ndim != 1 or runs.dtype.kind not in "iuf":
        raise ValueError("the run lengths are no list of numbers; export the mask again")
    if any(isinstance(count, bool) for count in counts):
        raise ValueError("the run lengths hold true or false, no whole number; export them again")
    if not ((runs >= 0) & (runs <= _LONGEST) & (runs == np.floor(runs))).all():
        raise ValueError(
            f"the run lengths hold {runs.min()}..{runs.max()}, of which one is negative, too large "
            "or no whole number; export the mask again"
        )
    return runs.astype(np.int64)


def _as_mask(mask: ArrayLike) -> BoolArray:
    pixels: NDArray[Any] = np.asarray(mask)
    if pixels.ndim != 2:
        raise ValueError(f"the mask has shape {pixels.shape}; give (H, W)")
    return pixels.astype(np.bool_, copy=False)


def _uncompress(text: str) -> list[int]:
    """Runs of COCO's string: 5 bits a character, differences to the last but one from the third."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(
                f"the run-length string has the character {character!r}; it is damaged"
            )
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the run-length string ends within a number; it is damaged")
    return counts
