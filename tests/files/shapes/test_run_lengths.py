import numpy as np
import pytest
from pycocotools import mask as coco

from tests.each import each
from tests.files.shapes.test_outlines import masks
from wsss_zoo.files.shapes.run_lengths import decode_columns, encode_columns
from wsss_zoo.functional import decode_brush, decode_rows, encode_brush, encode_rows


class Bits:
    """Reads bits one by one, to and from text."""

    def __init__(self, code):
        self.text = "".join(f"{byte:08b}" for byte in code)
        self.place = 0

    def read(self, count):
        self.place += count
        return int(self.text[self.place - count : self.place], 2)


def naive_brush(code):
    bits = Bits(code)
    number, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < number:
        is_run = bits.read(1)
        length = bits.read(sizes[bits.read(2)]) + 1
        if is_run:
            values += [bits.read(word)] * length
        else:
            values += [bits.read(word) for _ in range(length)]
    return values


def pack(height, width, chunks, sizes=(3, 4, 8, 16)):
    """Bytes of chunks: (size index, list of words) or (size index, (word, length of a run))."""
    text = f"{4 * height * width:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for index, values in chunks:
        is_run = isinstance(values, tuple)
        length = values[1] if is_run else len(values)
        text += f"{is_run:b}{index:02b}{length - 1:0{sizes[index]}b}"
        text += "".join(f"{value:08b}" for value in (values[:1] if is_run else values))
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


@each("mask", masks())
def test_rows(mask):
    counts = encode_rows(mask)
    assert sum(counts) == mask.size
    assert 0 not in counts[1:]
    np.testing.assert_array_equal(decode_rows(counts, *mask.shape), mask)
    flat = [value for place, count in enumerate(counts) for value in [place % 2] * count]
    np.testing.assert_array_equal(np.reshape(flat, mask.shape), mask)


@each("mask", masks())
def test_columns_as_pycocotools(mask):
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert encode_columns(mask) == expected
    np.testing.assert_array_equal(decode_columns(expected, *mask.shape), mask)
    np.testing.assert_array_equal(decode_columns(encode_rows(mask.T), *mask.shape), mask)


@each("mask", masks())
def test_brush(mask):
    code = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in code)
    alpha = decode_brush(code, *mask.shape)
    np.testing.assert_array_equal(alpha, mask * np.uint8(255))
    assert naive_brush(code) == np.repeat(mask.ravel() * 255, 4).tolist()


def test_brush_as_the_sdk_writes_it():
    """Bytes of ``mask2rle`` of label-studio-sdk 2.1."""
    mask = np.array([[0, 1, 1], [1, 0, 0]], bool)
    assert encode_brush(mask) == [0, 0, 0, 24, 57, 27, 252, 96, 22, 255, 231, 0, 0]
    tall = np.zeros((300, 120), bool)
    tall[40:260, 10:100] = True
    assert len(encode_brush(tall)) == 1277
    full = [0, 1, 212, 192, 57, 27, 255, 255, 255, 255, 250, 151, 255, 224]
    assert encode_brush(np.ones((100, 300))) == full
    # Where the last byte is full, one more follows.
    assert encode_brush(np.ones((2, 3))) == [0, 0, 0, 24, 57, 27, 254, 23, 255, 0]
    long = encode_brush(np.ones((600, 700), bool))
    assert naive_brush(long) == [255] * (4 * 600 * 700)


def test_brush_with_soft_rims_and_other_sizes():
    generator = np.random.default_rng(0)
    for _ in range(20):
        height, width = generator.integers(1, 9, 2).tolist()
        values = generator.integers(0, 256, 4 * height * width).tolist()
        chunks, place = [], 0
        while place < len(values):
            length = min(int(generator.integers(1, 9)), len(values) - place)
            if generator.random() < 0.5:
                values[place : place + length] = [values[place]] * length
                chunks.append((int(generator.integers(4)), (values[place], length)))
            else:
                chunks.append((int(generator.integers(4)), values[place : place + length]))
            place += length
        code = pack(height, width, chunks, sizes=(5, 4, 16, 9))
        assert naive_brush(code) == values
        alpha = np.reshape(values, (height, width, 4))[..., 3]
        np.testing.assert_array_equal(decode_brush(code, height, width), alpha)


def test_runs_may_go_on_behind_the_last_value():
    assert decode_brush(pack(1, 1, [(0, (255, 8))]), 1, 1).tolist() == [[255]]
    assert decode_brush(pack(1, 1, [(0, list(range(8)))]), 1, 1).tolist() == [[3]]


@each(
    ("code", "size", "message"),
    [
        ([], (2, 2), "0 bytes"),
        ([0, 0, 0, 16], (2, 2), "4 bytes"),
        ([1, 2, 256], (2, 2), "list of bytes"),
        (["a"], (2, 2), "list of bytes"),
        (encode_brush(np.ones((2, 3))), (3, 3), "holds 24 values"),
        (encode_brush(np.ones((2, 3))), (-1, -6), "holds 24 values"),
        (encode_brush(np.eye(5))[:-3], (5, 5), "ends after"),
    ],
)
def test_bad_brushes(code, size, message):
    with pytest.raises(ValueError, match=message):
        decode_brush(code, *size)


@each(
    ("counts", "message"),
    [
        ([3], "add up to 3"),
        ([-1, 5], "negative"),
        ([1.5, 2.5], "whole number"),
        ([float("nan"), 4], "whole number"),
        ([10**30, 4], "no list"),
        ([1 << 62, 1 << 62], "too large"),
        (["a", "b"], "run length"),
        ([[1, 2], [3]], "run length"),
    ],
)
def test_bad_runs(counts, message):
    with pytest.raises(ValueError, match=message):
        decode_rows(counts, 2, 2)


def test_bad_run_strings():
    for text in ("é", "P", "~"):
        with pytest.raises(ValueError, match="damaged"):
            decode_columns(text, 2, 2)
    with pytest.raises(ValueError, match="shape"):
        encode_rows([1, 0])
    with pytest.raises(ValueError, match="at least one pixel"):
        encode_brush(np.zeros((0, 4)))
