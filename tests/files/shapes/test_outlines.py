import numpy as np
import pytest
from skimage.draw import polygon as skimage_polygon

from tests.each import each
from wsss_zoo.functional import mask_polygons, polygon_mask


def naive_mask(rings, height, width):
    """Point in polygon for every centre, one edge at a time."""
    mask = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            x, y, inside = column + 0.5, row + 0.5, False
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
                        inside = not inside
            mask[row, column] = inside
    return mask


def masks():
    """Holes, parts, touching borders, one pixel, full, 1xN, diagonals, noise."""
    hole = np.zeros((30, 40), bool)
    hole[5:25, 5:35] = True
    hole[10:20, 10:30] = False
    hole[13:16, 15:20] = True
    border = np.zeros((9, 7), bool)
    border[:, 0] = border[0] = border[-1, -1] = True
    single = np.zeros((5, 6), bool)
    single[2, 3] = True
    generator = np.random.default_rng(0)
    noise = [generator.random(generator.integers(1, 25, 2)) < share for share in (0.1, 0.5, 0.9)]
    line = np.array([[True, False, True, True]])
    return [
        hole,
        border,
        single,
        np.ones((4, 5), bool),
        line,
        line.T,
        np.eye(6, dtype=bool),
        *noise,
    ]


def test_equals_a_naive_point_in_polygon():
    generator = np.random.default_rng(1)
    for _ in range(40):
        height, width = generator.integers(1, 16, 2).tolist()
        # Half of them with whole and half numbers: edges through centres, equal points.
        scale = generator.choice([2.0, 1e6])
        rings = [
            (np.round(generator.uniform(-5, 20, (count, 2)) * scale) / scale).tolist()
            for count in generator.integers(1, 9, generator.integers(1, 4)).tolist()
        ]
        expected = naive_mask(rings, height, width)
        np.testing.assert_array_equal(polygon_mask(rings, height, width), expected)


def test_equals_skimage_shifted_by_half_a_pixel():
    generator = np.random.default_rng(2)
    for _ in range(100):
        height, width = generator.integers(1, 90, 2).tolist()
        x, y = generator.uniform(-20, 100, (2, generator.integers(3, 30)))
        expected = np.zeros((height, width), bool)
        expected[skimage_polygon(y - 0.5, x - 0.5, (height, width))] = True
        mask = polygon_mask([np.stack([x, y], 1)], height, width)
        np.testing.assert_array_equal(mask, expected)


def test_bridges_have_no_pixels():
    """A hole and a part as YOLO writes them: one ring with two-way lines of no width."""
    outer = [(0, 0), (16, 0), (16, 16), (0, 16)]
    inner = [(4, 4), (4, 12), (12, 12), (12, 4)]
    bridged = [*outer, outer[0], *inner, inner[0], outer[0]]
    assert polygon_mask([bridged], 16, 16).sum() == 16 * 16 - 8 * 8
    assert polygon_mask([outer, inner], 16, 16).sum() == 192
    apart = [(1, 1), (5, 1), (5, 5), (1, 5), (1, 1), (9, 3), (14, 3), (14, 8), (9, 8), (9, 3)]
    assert polygon_mask([apart], 16, 16).sum() == 16 + 25


def test_closing_order_and_start_change_nothing():
    ring = np.random.default_rng(3).uniform(0, 20, (7, 2))
    mask = polygon_mask([ring], 20, 20)
    for other in (np.roll(ring, 3, 0), ring[::-1], np.concatenate([ring, ring[:1]])):
        np.testing.assert_array_equal(polygon_mask([other], 20, 20), mask)


def test_far_and_many_points():
    assert polygon_mask([[(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)]], 3, 4).all()
    assert not polygon_mask([[(1e9, 1), (2e9, 1), (2e9, 9)]], 5, 5).any()
    angle = np.linspace(0, 2 * np.pi, 10**6, endpoint=False)
    circle = np.stack([50 + 40 * np.cos(angle), 50 + 40 * np.sin(angle)], 1)
    y, x = np.mgrid[:100, :100] + 0.5
    expected = np.hypot(x - 50, y - 50) < 40
    np.testing.assert_array_equal(polygon_mask([circle], 100, 100), expected)


def test_many_crossings_are_shared_out(monkeypatch):
    ring = np.random.default_rng(4).uniform(-5, 45, (60, 2))
    mask = polygon_mask([ring], 40, 40)
    for crossings in (1, 7, 100):
        monkeypatch.setattr("wsss_zoo.files.shapes.outlines._CROSSINGS", crossings)
        np.testing.assert_array_equal(polygon_mask([ring], 40, 40), mask)


def test_nothing_to_draw():
    assert not polygon_mask([], 3, 3).any()
    assert not polygon_mask([[], [(1, 1)], [(0, 0), (2, 2)]], 3, 3).any()
    assert mask_polygons(np.zeros((3, 3), bool)) == []


@each("mask", masks())
def test_outlines_without_tolerance_are_exact(mask):
    rings = mask_polygons(mask, 0)
    np.testing.assert_array_equal(polygon_mask(rings, *mask.shape), mask)
    assert all((ring[0] != ring[-1]).any() for ring in rings)


def test_tolerance():
    y, x = np.mgrid[:300, :400] + 0.5
    ring = (np.hypot(x - 200, y - 150) < 120) & (np.hypot(x - 180, y - 150) > 50)
    exact, simple = mask_polygons(ring, 0), mask_polygons(ring)
    assert len(exact) == len(simple) == 2
    assert sum(map(len, simple)) < sum(map(len, exact)) / 4
    again = polygon_mask(simple, 300, 400)
    assert (again & ring).sum() / (again | ring).sum() > 0.99
    # What would simplify to nothing stays.
    dots = np.zeros((9, 9), bool)
    dots[2, 2] = dots[6, 5:7] = True
    np.testing.assert_array_equal(polygon_mask(mask_polygons(dots, 5.0), 9, 9), dots)


@each(
    ("rings", "size", "message"),
    [
        ([[(0, 0), (1, float("nan")), (1, 1)]], (3, 3), "not finite"),
        ([[(0, 0), (1, float("inf")), (1, 1)]], (3, 3), "not finite"),
        ([[0, 1, 2, 3]], (3, 3), "a ring has shape"),
        ([[(0, 0, 0)]], (3, 3), "a ring has shape"),
        ([], (0, 3), "0 rows"),
    ],
)
def test_bad_polygons(rings, size, message):
    with pytest.raises(ValueError, match=message):
        polygon_mask(rings, *size)


def test_bad_masks():
    with pytest.raises(ValueError, match="shape"):
        mask_polygons(np.zeros(3, bool))
    for tolerance in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance"):
            mask_polygons(np.ones((2, 2), bool), tolerance)
