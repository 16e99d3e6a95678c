import numpy as np
import pytest
from PIL import Image

from tests.each import each
from wsss_zoo.files.segment_maps import (
    find_segment_map,
    lone_top_id,
    read_segment_map,
    write_segment_map,
)

IDS = np.array([[0, 1, 300], [65_535, 2, 2]])


def test_written_map_is_found_and_read(tmp_path):
    assert find_segment_map(tmp_path, "sub/a") is None
    write_segment_map(tmp_path, "sub/a", IDS)
    path = find_segment_map(tmp_path, "sub/a")
    assert path == tmp_path / "sub" / "a.png"
    np.testing.assert_array_equal(read_segment_map(path), IDS)
    np.savez(tmp_path / "sub" / "a.npz", IDS)
    with pytest.raises(ValueError, match=r"both .*a\.png and a\.npz; delete one"):
        find_segment_map(tmp_path, "sub/a")
    with pytest.raises(ValueError, match="would lead out of its folder"):
        find_segment_map(tmp_path, "../a")


@each("ids", [np.array([[65_536]]), np.array([[-1, 3]])])
def test_ids_that_a_png_does_not_hold(tmp_path, ids):
    with pytest.raises(ValueError, match=r"have ids .*make fewer"):
        write_segment_map(tmp_path, "a", ids)
    assert not list(tmp_path.iterdir())


def palette(ids):
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


@each(
    ("image", "expected"),
    [
        (Image.fromarray((IDS % 256).astype(np.uint8)), IDS % 256),
        (Image.fromarray(IDS.astype(np.uint16)), IDS),
        (palette(IDS % 256), IDS % 256),
        (Image.fromarray(IDS > 2), IDS > 2),
    ],
)
def test_png_of_any_depth(tmp_path, image, expected):
    image.save(tmp_path / "a.png")
    segments = read_segment_map(tmp_path / "a.png")
    assert np.issubdtype(segments.dtype, np.integer)
    np.testing.assert_array_equal(segments, expected)


@each("names", [("segments",), ("ids",), ("x", "segments")])
def test_npz(tmp_path, names):
    large = IDS.astype(np.int64) << 30
    np.savez_compressed(tmp_path / "a.npz", **dict.fromkeys(names, large))
    np.testing.assert_array_equal(read_segment_map(tmp_path / "a.npz"), large)


@each(
    ("arrays", "message"),
    [
        ({"a": IDS, "b": IDS}, "holds a, b; name the map 'segments'"),
        ({}, "holds nothing"),
        ({"a": IDS / 1.0}, r"float64 \(2, 3\); a region map is one array of integers"),
        ({"a": IDS > 2}, "bool"),
        ({"a": np.stack([IDS, IDS])}, r"\(2, 2, 3\)"),
        ({"a": -IDS}, "holds the id -65535; number segments from 1"),
        ({"a": np.zeros((0, 3), int)}, r"\(0, 3\)"),
    ],
)
def test_npz_of_other_things(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_segment_map(tmp_path / "a.npz")


@each("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"a\.png has colours \(mode {mode}\)"):
        read_segment_map(tmp_path / "a.png")


def test_damaged_and_hostile_files(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    (tmp_path / "b.png").write_bytes(b"")
    np.savez(tmp_path / "c.npz", segments=np.array([[object()]], dtype=object))
    for name in ("a.npz", "b.png", "c.npz"):
        with pytest.raises(OSError, match=name):
            read_segment_map(tmp_path / name)


def test_ids_that_eight_bits_cut_are_refused(tmp_path):
    squares = np.arange(1, 17 * 20 + 1).reshape(17, 20).repeat(2, 0).repeat(2, 1)
    Image.fromarray((squares % 256).astype(np.uint8)).save(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", (squares % 256).astype(np.uint8))
    for name in ("a.png", "b.npz"):
        with pytest.raises(ValueError, match=rf"{name} has all ids that 8 bits .* with 16 bits"):
            read_segment_map(tmp_path / name)
    # 255 segments and pixels of none, each in one place.
    whole = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(whole).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_segment_map(tmp_path / "a.png"), whole)


@each(
    ("ids", "kind", "expected"),
    [
        ([0, 1, 255], np.uint8, 255),
        ([1, -1], np.uint16, 65535),
        ([254, 255], np.uint8, None),
        ([1, 255], np.uint16, None),
        ([0, 2**62], np.int64, None),
    ],
)
def test_highest_id_that_stands_alone(ids, kind, expected):
    assert lone_top_id(np.array([ids]).astype(kind)) == expected
