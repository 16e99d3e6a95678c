import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.each import each
from tests.report.run_folders import NAMES, write_run
from wsss_zoo.drawing.pictures import SheetRow, draw_sheet, save_sheet
from wsss_zoo.files.manifests import Manifest, write_manifest
from wsss_zoo.files.pseudo_labels import voc_palette, write_label
from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.page import examples as module
from wsss_zoo.report.page import photos
from wsss_zoo.report.page.examples import collect_examples


def picture(drawn):
    content = base64.b64decode(drawn.uri.partition(",")[2])
    return Image.open(io.BytesIO(content))


def label(value):
    found = np.zeros((120, 160), dtype=np.uint8)
    found[30:90, 40:120] = value
    found[:5] = 255
    return found


def write_sheet(run, value, ids=("one", "two"), names=NAMES):
    image = np.full((120, 160, 3), (90, 60, 140), dtype=np.uint8)
    rows = [SheetRow(name, image, truth=label(1), preds=label(value)) for name in ids]
    (run / "pictures").mkdir(exist_ok=True)
    sheet = draw_sheet(rows, names)
    save_sheet(sheet, run / "pictures" / "val_epoch000.png")
    return sheet


def write_labels(run, value, ids=("one", "two")):
    for image_id in ids:
        write_label(run / "pseudo_labels", image_id, label(value))
    manifest = Manifest("CAM", NAMES, len(ids), "", "", {}, "train")
    write_manifest(run / "pseudo_labels", manifest)


def collect(root, count=4):
    return collect_examples(compare(find_runs([root])), count)


def test_panels_of_sheets(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        write_sheet(write_run(tmp_path / name, lr=value), value)
    found = collect(tmp_path)
    assert [example.image_id for example in found.images] == ["one", "two"]
    assert found.notes == []
    assert found.runs == {0: "a", 1: "b"}
    assert dict(found.legend)["dog"] == tuple(voc_palette()[2].tolist())
    one = found.images[0]
    second = picture(one.preds[1])
    assert second.size == (213, 160)
    pixels = np.asarray(second.convert("RGBA"))
    # The background is clear, the class has its colour.
    assert pixels[20, 10, 3] == 0
    assert pixels[80, 106].tolist() == [*voc_palette()[2].tolist(), 255]
    truth = np.asarray(picture(one.truth).convert("RGB"))
    assert truth[80, 106].tolist() == voc_palette()[1].tolist()
    assert np.abs(np.asarray(picture(one.photo)).mean((0, 1)) - (90, 60, 140)).max() < 3


def test_fewer_images_and_none(tmp_path):
    write_sheet(write_run(tmp_path / "a"), 1)
    assert len(collect(tmp_path, 1).images) == 1
    assert collect(tmp_path, 0).images == []


def test_images_that_most_runs_have_come_first(tmp_path):
    write_sheet(write_run(tmp_path / "a", lr=1), 1, ids=("mine", "common"))
    write_sheet(write_run(tmp_path / "b", lr=2), 1, ids=("common", "other"))
    assert [e.image_id for e in collect(tmp_path, 2).images] == ["common", "mine"]


def test_sheets_of_an_earlier_version_are_to_be_drawn_again(tmp_path):
    run = write_run(tmp_path / "a")
    sheet = write_sheet(run, 1)
    sheet.save(run / "pictures" / "val_epoch000.png")
    found = collect(tmp_path)
    assert found.images == []
    assert "validate draws it again" in found.notes[0]


def test_label_folders_over_their_images(tmp_path, monkeypatch):
    write_labels(write_run(tmp_path / "a"), 2)
    photo = np.full((120, 160, 3), 77, dtype=np.uint8)
    monkeypatch.setattr(
        module, "read_photos", lambda run, ids: ({i: (photo, label(1)) for i in ids}, "")
    )
    found = collect(tmp_path)
    one = found.images[0]
    assert np.asarray(picture(one.preds[0]).convert("RGB"))[80, 106].tolist() == [0, 128, 0]
    assert np.asarray(picture(one.truth).convert("RGB"))[80, 106].tolist() == [128, 0, 0]
    assert picture(one.photo).size == (213, 160)


def test_label_folders_whose_images_are_gone(tmp_path):
    data = {"class_path": "wsss_zoo.VOC2012", "init_args": {"root": str(tmp_path / "gone")}}
    run = write_run(tmp_path / "a")
    write_labels(run, 2)
    (run / "config.yaml").write_text(json.dumps({"model": {"class_path": "CAM"}, "data": data}))
    found = collect(tmp_path)
    assert found.images[0].photo is None
    assert picture(found.images[0].preds[0]).size == (213, 160)
    assert "cannot be read" in found.notes[0]
    assert "gone" in found.notes[0]


def test_other_classes_have_other_colours(tmp_path):
    write_sheet(write_run(tmp_path / "a", lr=1), 1)
    write_sheet(write_run(tmp_path / "b", lr=2), 1, names=["background", "cow", "dog"])
    found = collect(tmp_path)
    assert list(found.runs) == [0]
    assert found.notes == ["b: other classes; its pictures are left out"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"text"])
def test_a_damaged_sheet(tmp_path, content):
    run = write_run(tmp_path / "a")
    (run / "pictures").mkdir()
    (run / "pictures" / "val_epoch000.png").write_bytes(content)
    found = collect(tmp_path)
    assert found.images == []
    assert "a: its pictures cannot be read" in found.notes[0]


@each("text", ["{", "[]", "{}", '{"panels": [{}]}', '{"panels": 3}'])
def test_a_damaged_description_of_panels(tmp_path, text):
    run = write_run(tmp_path / "a")
    sheet = write_sheet(run, 1)
    sheet.info["wsss_zoo panels"] = text
    save_sheet(sheet, run / "pictures" / "val_epoch000.png")
    assert "cannot be read" in collect(tmp_path).notes[0]


def test_every_class_and_the_worst_last(tmp_path):
    """Of 12 images of cats one has a dog, and one prediction is wrong."""
    ids = [f"{number:02}" for number in range(12)]
    truths = {image_id: label(2 if image_id == "08" else 1) for image_id in ids}
    image = np.full((120, 160, 3), 99, dtype=np.uint8)
    for name, wrong in (("a", "03"), ("b", "03")):
        run = write_run(tmp_path / name, lr=len(name + wrong) + ord(name))
        preds = truths | {wrong: label(0)}
        rows = [SheetRow(i, image, truth=truths[i], preds=preds[i]) for i in ids]
        (run / "pictures").mkdir()
        save_sheet(draw_sheet(rows, NAMES), run / "pictures/val_epoch000.png")
    assert [e.image_id for e in collect(tmp_path).images] == ["00", "08", "11", "03"]


def test_every_class_and_the_worst_of_label_folders(tmp_path, monkeypatch):
    ids = [f"{number:02}" for number in range(12)]
    run = write_run(tmp_path / "a")
    write_labels(run, 1, ids)
    write_label(run / "pseudo_labels", "05", label(0))
    write_label(run / "pseudo_labels", "07", label(2))
    truth = {i: label(2 if i == "07" else 1) for i in ids}

    class Data:
        read_mask = staticmethod(truth.get)

    monkeypatch.setattr(photos, "_open_data", lambda run: Data())
    monkeypatch.setattr(module, "read_photos", lambda run, ids: ({}, "gone"))
    assert [e.image_id for e in collect(tmp_path).images] == ["00", "07", "11", "05"]
    # Without the data the labels say which classes there are.
    monkeypatch.undo()
    monkeypatch.setattr(module, "read_photos", lambda run, ids: ({}, "gone"))
    assert "07" in [e.image_id for e in collect(tmp_path).images]
