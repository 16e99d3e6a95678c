from dataclasses import replace

import numpy as np
import pytest

from wsss_zoo.drawing.contact_sheet import Tile, _draw_tile, draw_contact_sheet
from wsss_zoo.drawing.pictures import color_label

NAMES = ["background", "cat", "dog"]
RED, FAINT = (200, 0, 0), (110, 110, 110)


PLAIN = (90, 60, 140)


def photo(height=80, width=120):
    return np.full((height, width, 3), PLAIN, dtype=np.uint8)


def colors(sheet):
    return {color for _, color in sheet.getcolors(1 << 24)}


def test_grid():
    tiles = [Tile(f"image {number}", photo()) for number in range(7)]
    one, two = (draw_contact_sheet(tiles[:n], NAMES, title="t") for n in (6, 7))
    assert one.width == two.width
    assert two.height > one.height
    assert draw_contact_sheet(tiles, NAMES, title="t", columns=3).width < one.width


def test_masks_are_laid_over_images():
    mask = np.zeros((80, 120), dtype=np.uint8)
    mask[:40] = 2
    sheet = draw_contact_sheet([Tile("a", photo(), mask)], NAMES, title="t")
    mixed = 0.55 * color_label(np.array([[2]], dtype=np.uint8))[0, 0] + 0.45 * np.array(PLAIN)
    assert np.abs(np.array(list(colors(sheet))) - mixed).max(axis=1).min() < 1
    assert PLAIN in colors(sheet)
    # The legend has the class that the mask shows, and not the others.
    palette = color_label(np.array([[1, 2]], dtype=np.uint8))[0].tolist()
    assert [tuple(color) in colors(sheet) for color in palette] == [False, True]


def test_sparse_labels_are_opaque_marks_and_boxes():
    marks = np.full((80, 120), 255, dtype=np.uint8)
    marks[20, 10:60], marks[70, 10:60] = 1, 0
    tiles = [Tile("a", photo(), marks=marks, boxes=[((5, 8, 90, 70), 2)])]
    shown = colors(draw_contact_sheet(tiles, NAMES, title="t"))
    palette = color_label(np.array([[0, 1, 2]], dtype=np.uint8))[0].tolist()
    assert {tuple(color) for color in palette} | {PLAIN} <= shown
    cell = _draw_tile(tiles[0], 1, 240, 160)
    picture = np.asarray(cell).astype(int)
    cat, dog = (np.abs(picture - palette[index]).sum(2) == 0 for index in (1, 2))
    # The photo is drawn at twice its size; a mark keeps its place, and a box its outline.
    rows, columns = np.nonzero(cat)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 41, 20, 119)
    rows, columns = np.nonzero(dog)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (16, 10, 139, 179)
    assert not dog[40:100, 40:120].any()


def test_the_first_class_is_shown_where_it_is_no_background():
    mask = np.zeros((80, 120), dtype=np.uint8)
    plain, shown = (
        draw_contact_sheet([Tile("a", photo(), mask)], NAMES, title="t", first_fg=first)
        for first in (1, 0)
    )
    assert PLAIN in colors(plain)
    assert PLAIN not in colors(shown)


def test_warnings_are_red_and_missing_labels_faint():
    def written(**options):
        return colors(draw_contact_sheet([Tile("a", photo(), **options)], NAMES, title="t"))

    assert RED in written(tags=["cat"], warning="mask has no cat")
    assert RED in written(warning="mask not usable")
    assert RED not in written(tags=["cat"])
    assert FAINT in written()
    assert FAINT not in written(tags=[])


def test_long_names_and_odd_shapes_stay_inside():
    tiles = [
        Tile("Käfer " * 40, photo(10, 900), tags=["猫" * 90]),
        Tile("", photo(900, 3)),
        Tile("a", photo(1, 1), np.full((1, 1), 255, dtype=np.uint8)),
    ]
    long_names = ["background", *(f"class number {number}" for number in range(200))]
    mask = np.arange(180, dtype=np.uint8).reshape(10, 18)
    tiles.append(Tile("many", photo(10, 18), mask))
    sheet = draw_contact_sheet(tiles, long_names, title="t " * 900)
    assert sheet.width < 1500
    assert sheet.height < 1500


def test_no_images():
    with pytest.raises(ValueError, match="needs at least one image"):
        draw_contact_sheet([], NAMES, title="t")


def test_a_note_is_no_warning():
    tile = Tile("a", photo(), tags=["cat"])
    plain, noted = (
        draw_contact_sheet([each], NAMES, title="t") for each in (tile, replace(tile, note="IoU 1"))
    )
    assert RED not in colors(noted)
    assert (np.asarray(plain) != np.asarray(noted)).any()
