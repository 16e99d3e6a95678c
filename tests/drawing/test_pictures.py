import json

import numpy as np
import pytest
from PIL import Image

from wsss_zoo.drawing.pictures import (
    PANELS,
    SheetRow,
    color_label,
    draw_sheet,
    heat_overlay,
    save_sheet,
)
from wsss_zoo.files.pseudo_labels import voc_palette

NAMES = ["background", "cat", "cow"]
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
LABEL = np.zeros((60, 90), dtype=np.uint8)
LABEL[:, 30:60] = 1
LABEL[:, 60:] = 255


def colors_of(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {color for _, color in sheet.getcolors(1 << 24)}


def test_label_has_the_colors_of_voc_and_ignored_is_hatched():
    colored = color_label(LABEL)
    assert (colored[:, :30] == 0).all()
    assert (colored[:, 30:60] == [128, 0, 0]).all()
    ignored = {tuple(color) for color in colored[:, 60:].reshape(-1, 3).tolist()}
    assert ignored == {(255, 255, 255), (170, 170, 170)}
    assert LABEL.max() == 255  # the input is left alone


def test_heat_is_that_of_the_strongest_map_in_both_units():
    cam = np.zeros((2, 60, 90), dtype=np.float32)
    cam[0, :, :45], cam[1, :, 45:] = 1.0, 0.2
    grey = np.full_like(IMAGE, 100)
    heat = heat_overlay(grey, cam).astype(int)
    assert heat[0, 0, 0] > heat[0, 0, 2] + 40  # red where it is hot
    assert heat[0, 89, 2] > heat[0, 89, 0] + 40  # blue where it is cold
    stored = heat_overlay(grey, np.rint(255 * cam).astype(np.uint8)).astype(int)
    assert np.abs(stored - heat).max() <= 1
    np.testing.assert_array_equal(heat_overlay(grey, cam[:0]), heat_overlay(grey, 0 * cam))


def test_sheet_has_a_column_for_what_rows_have():
    plain = draw_sheet([SheetRow("a", IMAGE)], NAMES, height=60)
    assert plain.mode == "RGB"
    assert plain.width == 90 + 2 * 6
    full = SheetRow(
        "a",
        IMAGE,
        truth=LABEL,
        cam=np.ones((1, 60, 90), np.float32),
        scores=np.array([0.9, 0.1]),
        image_labels=np.array([1, 0]),
        pseudo_label=LABEL,
        preds=LABEL,
    )
    sheet = draw_sheet([SheetRow("b", IMAGE), full], NAMES, height=60)
    assert sheet.width == 5 * 90 + 180 + 7 * 6
    assert {(128, 0, 0), (0, 0, 0), (170, 170, 170)} <= colors_of(sheet)


def test_label_maps_are_not_blurred_by_resizing():
    label = np.random.default_rng(0).integers(0, 3, (300, 400)).astype(np.uint8)
    row = SheetRow("a", np.zeros((300, 400, 3), np.uint8), truth=label)
    sheet = draw_sheet([row], NAMES, height=100)
    left = 6 + round(400 / 3) + 6
    panel = sheet.crop((left, 20, left + round(400 / 3), 120))
    assert colors_of(panel) == {(0, 0, 0), (128, 0, 0), (0, 128, 0)}


def test_legend_wraps_and_holds_only_what_is_shown():
    names = [f"a rather long class name {index}" for index in range(30)]
    few, many = LABEL.copy(), LABEL.copy()
    many[0, :30] = np.arange(30)
    sheets = [draw_sheet([SheetRow("a", IMAGE, truth=m)], names, 60) for m in (few, many)]
    assert sheets[0].width == sheets[1].width
    assert sheets[1].height > sheets[0].height + 200


def test_extreme_sizes_and_long_ids():
    rows = [
        SheetRow("x" * 200, np.zeros((4, 4000, 3), np.uint8)),
        SheetRow("", np.zeros((4000, 4, 3), np.uint8)),
    ]
    assert draw_sheet(rows, NAMES, height=50).width == 100 + 2 * 6


@pytest.mark.parametrize(("rows", "height"), [([], 160), ([SheetRow("a", IMAGE)], 20)])
def test_nothing_to_draw_is_an_error(rows, height):
    with pytest.raises(ValueError, match="a sheet needs rows"):
        draw_sheet(rows, NAMES, height)


def test_a_saved_sheet_says_where_its_panels_are(tmp_path):
    image = np.full((60, 90, 3), 90, dtype=np.uint8)
    preds = np.zeros((60, 90), dtype=np.uint8)
    rows = [SheetRow("one", image, preds=preds + 1), SheetRow("two", image[:, :30])]
    sheet = draw_sheet(rows, ["background", "cat"])
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as file:
        described = json.loads(file.info[PANELS])
        saved = np.asarray(file.convert("RGB"))
    assert described["class_names"] == ["background", "cat"]
    assert described["colors"] == voc_palette()[:2].tolist()
    panels = {(p["image_id"], p["field"]): p["box"] for p in described["panels"]}
    assert set(panels) == {("one", "image"), ("two", "image"), ("one", "preds")}
    left, top, right, bottom = panels["one", "preds"]
    assert (right - left, bottom - top) == (240, 160)
    assert (saved[top:bottom, left:right] == voc_palette()[1]).all()
