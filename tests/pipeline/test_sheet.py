import json

import numpy as np
import yaml
from PIL import Image

from wsss_zoo import Shapes
from wsss_zoo.drawing.pictures import PANELS, SheetRow, draw_sheet
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.pipeline.recipe import Recipe, Step
from wsss_zoo.pipeline.sheet import draw_step_sheet

OPTIONS = {"num_train": 30, "image_size": 32, "num_workers": 0}


def run_step(root, name, labels):
    (root / name).mkdir()
    data = {"class_path": "wsss_zoo.Shapes", "init_args": OPTIONS}
    (root / name / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    for image_id, label in labels.items():
        write_label(root / name / "pseudo_labels", image_id, label)
    return Step(name, "predict", {"data": data})


def drawn(monkeypatch, recipe, root):
    rows = []

    def keep(given, class_names):
        rows.extend(given)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("wsss_zoo.callbacks.draw_sheet", keep)
    draw_step_sheet(recipe, root, root / "sheet.png")
    assert (root / "sheet.png").exists()
    return rows


def test_every_class_and_the_worst_last(tmp_path, monkeypatch):
    data = Shapes(**OPTIONS)
    ids = data.ids_of("train")
    truths = {image_id: data.read_mask(image_id) for image_id in ids}
    wrong = ids[4:8]
    preds = truths | {i: np.full((32, 32), 5 * (i == wrong[2]), np.uint8) for i in wrong}
    # One step labelled fewer images.
    steps = (
        run_step(tmp_path, "masks", preds),
        run_step(tmp_path, "labels", dict([*truths.items()][:25])),
    )
    recipe = Recipe(
        "r", steps, sheet={"images": "masks", "preds": "masks", "pseudo_label": "labels"}
    )
    rows = drawn(monkeypatch, recipe, tmp_path)
    assert len(rows) == 12
    assert {*wrong} == {row.image_id for row in rows[-4:]}
    assert rows[-1].note == "mean IoU 0.00"
    assert {row.note for row in rows[:8]} == {"mean IoU 1.00"}
    shown = {int(value) for row in rows for value in np.unique(row.truth)}
    assert shown == {int(value) for i in ids[:25] for value in np.unique(truths[i])}
    assert {row.image_id for row in rows} <= {*ids[:25]}


def test_without_masks_the_tags_say_the_classes(tmp_path, monkeypatch):
    data = Shapes(**OPTIONS)
    data.setup("predict")
    ids = data.predict_ids()
    labels = {image_id: np.zeros((32, 32), np.uint8) for image_id in ids}
    recipe = Recipe("r", (run_step(tmp_path, "maps", labels),), sheet={"images": "maps"})
    monkeypatch.setattr(Shapes, "read_mask", lambda self, image_id: None)
    rows = drawn(monkeypatch, recipe, tmp_path)
    tags = [data.image_labels_of(row.image_id) for row in rows]
    assert len(rows) == 12
    assert all(row.note == "" for row in rows)
    assert np.any(tags, axis=0).tolist() == [True] * data.num_fg_classes


def test_a_mask_that_no_step_has_read_spoils_no_sheet(tmp_path, monkeypatch):
    ids = Shapes(**OPTIONS).ids_of("train")[:3]
    labels = {image_id: np.zeros((32, 32), np.uint8) for image_id in ids}
    recipe = Recipe("r", (run_step(tmp_path, "maps", labels),), sheet={"images": "maps"})

    def damaged(self, image_id):
        raise OSError(f"{image_id} cannot be decoded")

    monkeypatch.setattr(Shapes, "read_mask", damaged)
    assert [row.truth for row in drawn(monkeypatch, recipe, tmp_path)] == [None] * 3


def test_a_note_is_kept_where_a_name_is_long():
    image = np.zeros((32, 32, 3), np.uint8)
    row = SheetRow("a very long name of an image " * 3, image, note="mean IoU 0.25")
    picture = draw_sheet([row], ["background"])
    assert json.loads(picture.info[PANELS])["panels"][0]["image_id"] == row.image_id
    plain = draw_sheet([SheetRow(row.image_id, image)], ["background"])
    assert (np.asarray(picture) != np.asarray(plain)).any()
