"""What labels allow in predictions: by hand, and from the command line to the written map."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.supervision.test_sparse import BACKGROUND, folder, stroke, write_shapes
from tests.tiny import NETWORK, QUIET, tiny
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.modules import Evaluation


def possible(data, image_id, key="possible"):
    """The classes that each pixel may have, (C, H, W)."""
    data.setup("predict")
    data.gates_predictions = True
    for batch in data.predict_dataloader():
        if batch["image_id"] == [image_id]:
            return batch[key][0].numpy()
    raise AssertionError(f"{image_id} is not predicted")


def labelled(root, predict_split="train", **shapes_by_id):
    """Images with sparse labels in a folder of their own."""
    folder(root)
    write_shapes(root / "labels", **shapes_by_id)
    (root / "splits" / "others.txt").write_text("i8\ni9\n")
    labels = str(root / "labels")
    return folder(root, sparse_dir=labels, predict_split=predict_split, complete_sparse=True)


def test_strokes_and_complete_labels(tmp_path):
    dog, cat = stroke("dog", (10, 20), (30, 20)), stroke("cat", (5, 5), (9, 9))
    allowed = possible(labelled(tmp_path, i5=[BACKGROUND, dog], i6=[cat]), "i5")
    assert allowed[:, 20, 20].tolist() == [False, False, True, False]
    assert allowed[:, 2, 20].tolist() == [True, False, False, False]
    # Elsewhere the classes of its labels, and cow, of which nothing is known in any image.
    assert allowed[:, 35, 50].tolist() == [True, False, True, True]


def test_middle_of_a_box_is_not_certain(tmp_path):
    data = labelled(tmp_path, i5=[{"class": "dog", "box": [10, 10, 40, 30]}])
    allowed, likely = (possible(data, "i5", key) for key in ("possible", "likely"))
    assert allowed[:, 20, 25].tolist() == [True, False, True, False]
    assert allowed[:, 5, 25].tolist() == [True, False, False, False]
    # The refit takes it for a label.
    assert likely[:, 20, 25].tolist() == [False, False, True, False]
    differs = (allowed != likely).any(0)
    assert differs.sum() == 14 * 8  # a fifth of 30 x 20, in whole pixels
    assert np.argwhere(differs).mean(0).tolist() == [19.5, 24.5]


def test_labels_without_background_are_told(tmp_path, caplog):
    dog = stroke("dog", (10, 20), (30, 20))
    possible(labelled(tmp_path, i5=[BACKGROUND, dog], i6=[dog]), "i5")
    assert "complete_sparse: 1 of 2 images with sparse labels, such as 'i6', have no" in caplog.text
    caplog.clear()
    possible(labelled(tmp_path, i5=[BACKGROUND, dog]), "i5")
    assert "complete_sparse" not in caplog.text


def test_images_without_labels(tmp_path):
    data = labelled(tmp_path, i5=[BACKGROUND])
    assert possible(data, "i7").all()
    data = labelled(tmp_path, "others", i5=[BACKGROUND])
    data.setup("predict")
    data.gates_predictions = True
    with pytest.raises(ValueError, match=r"none of the 2 images to predict has a sparse label"):
        data.predict_dataloader()


def test_images_with_tags_alone_are_gated_by_them(tmp_path):
    folder(tmp_path)
    (tmp_path / "image_labels.csv").write_text("id,classes\ni8,cat\ni9,cow\n")
    allowed = possible(labelled(tmp_path, "others", i5=[BACKGROUND]), "i8")
    assert allowed[:, 20, 20].tolist() == [True, True, False, False]
    (tmp_path / "labels" / "shapes.json").write_text("{}")
    labels = str(tmp_path / "labels")
    data = folder(tmp_path, sparse_dir=labels, predict_split="others", complete_sparse=True)
    assert possible(data, "i8")[:, 20, 20].tolist() == [True, True, False, False]


def test_an_image_is_gated_alike_whatever_else_is_predicted(tmp_path):
    shapes = {name: [BACKGROUND, stroke(k, (9, 20))] for name, k in (("i8", "cat"), ("i5", "dog"))}
    whole = possible(labelled(tmp_path, **shapes), "i8")
    alone = possible(labelled(tmp_path, "others", **shapes), "i8")
    assert whole[:, 35, 50].tolist() == [True, True, False, True]
    np.testing.assert_array_equal(whole, alone)


def test_masks_that_predictions_copy_do_not_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "photos")
    write_shapes(tmp_path / "photos", i4=[BACKGROUND, stroke("cat", (9, 20))])
    data = ["--data", "Folder", "--data.root", "photos", "--data.val_split", "null"]
    data += ["--data.num_workers", "0", "--data.predict_split", "train"]
    gates = ["--evaluation.gate_by_labels", "true", "--trainer.default_root_dir", "run"]
    ZooCLI(["predict", "--model", "Sparse", *data, *NETWORK, *QUIET, *gates])
    # The four masks are labels of this data, so that nothing is left to measure with.
    quality = json.loads((tmp_path / "run" / "pseudo_labels" / "quality.json").read_text())
    assert "pseudo/miou" not in quality["metrics"]


def test_another_prediction_has_a_gate_of_its_own(tmp_path):
    dog = stroke("dog", (10, 20), (30, 20))
    data = labelled(tmp_path, "others", i8=[BACKGROUND], i5=[dog])
    assert possible(data, "i8")[:, 2, 20].tolist() == [True, False, False, False]
    data.predict_split = "train"
    data.setup("predict")
    assert not data.gates_predictions
    data.gates_predictions = True
    first = {batch["image_id"][0]: batch["possible"][0] for batch in data.predict_dataloader()}
    # A gate of the first two images would know nothing of this one.
    assert first["i5"][:, 35, 50].tolist() == [False, True, True, True]


REFIT = ["--evaluation.refit_by_labels", "true", "--evaluation.flip", "true"]


@pytest.mark.parametrize("refine", [[], ["--evaluation.par", "true"], REFIT])
def test_predicted_maps_keep_to_the_labels(tmp_path, monkeypatch, refine):
    monkeypatch.chdir(tmp_path)
    data = ["--data", "Shapes", "--data.image_size", "64", "--data.num_train", "4"]
    assert main(["simulate", *data, "--kind", "boxes", "--out", "boxes"]) == 0
    gated = ["--evaluation.gate_by_labels", "true", "--data.predict_split", "train", *refine]
    sparse = ["--model", "Sparse", *data, *tiny(), "--data.num_train", "4", *gated]
    folder = ["--trainer.default_root_dir", "run"]
    ZooCLI(["predict", *sparse, "--data.sparse_dir", "boxes", *folder])
    names = json.loads((tmp_path / "boxes" / "classes.json").read_text())
    lines = [line.split(",") for line in (tmp_path / "boxes" / "boxes.csv").read_text().split()[1:]]
    maps = sorted((tmp_path / "run" / "pseudo_labels").glob("*.png"))
    assert len(maps) == 4
    seen = 0
    for path in maps:
        label = np.array(Image.open(path))
        outside = {k: np.ones_like(label, dtype=bool) for k in range(1, len(names))}
        for image_id, name, *box in lines:
            if image_id == path.stem:
                x0, y0, x1, y1 = (round(float(side)) for side in box)
                outside[names.index(name)][y0:y1, x0:x1] = False
        # Of an image without a box nothing is known.
        if path.stem in {line[0] for line in lines}:
            assert not any((label[where] == k).any() for k, where in outside.items())
            seen += (label > 0).sum()
    assert seen
    # Other boxes are other labels, so that nothing is mixed.
    assert main(["simulate", *data, "--kind", "boxes", "--jitter", "0.3", "--out", "others"]) == 0
    with pytest.raises(ValueError, match="of another run"):
        ZooCLI(["predict", *sparse, "--data.sparse_dir", "others", *folder])


def test_refit_classes_are_written_and_are_another_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = ["--data", "Shapes", "--data.image_size", "64", "--data.num_train", "4"]
    assert main(["simulate", *data, "--kind", "scribbles", "--out", "labels"]) == 0
    options = ["--model", "Sparse", *data, *tiny(), "--data.num_train", "4"]
    options += ["--data.sparse_dir", "labels", "--data.predict_split", "train"]
    options += ["--evaluation.gate_by_labels", "true", "--model.evaluate", "average"]
    refit = ["--evaluation.refit_by_labels", "true"]
    ZooCLI(["predict", *options, "--trainer.default_root_dir", "plain"])
    ZooCLI(["predict", *options, *refit, "--trainer.default_root_dir", "refit"])
    right = []
    for run in ("plain", "refit"):
        quality = json.loads((tmp_path / run / "pseudo_labels" / "quality.json").read_text())
        right.append(quality["metrics"]["pseudo/miou"])
    assert "masks; the labels keep to what is labelled in the image" in capsys.readouterr().out
    # The network has random weights: all that it knows are the strokes.
    assert right[1] > right[0] + 0.1, right
    with pytest.raises(ValueError, match="of another run"):
        ZooCLI(["predict", *options, *refit, "--trainer.default_root_dir", "plain"])


def test_data_without_a_background(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "photos")
    (tmp_path / "photos" / "classes.txt").write_text("cat\ndog\ncow\n")
    dog, cat = stroke("dog", (10, 20), (30, 20)), stroke("cat", (5, 5), (9, 9))
    write_shapes(tmp_path / "labels", i5=[dog, cat], i6=[stroke("cow", (5, 5), (9, 9))])
    (tmp_path / "photos" / "splits" / "drawn.txt").write_text("i5\ni6\n")
    data = ["--data", "Folder", "--data.root", "photos", "--data.background", "false"]
    data += ["--data.sparse_dir", "labels", "--data.complete_sparse", "true"]
    data += ["--data.num_workers", "0", "--data.predict_split", "drawn", "--data.val_split", "null"]
    gates = ["--evaluation.gate_by_labels", "true", *REFIT]
    run = ["--trainer.default_root_dir", "run"]
    ZooCLI(["predict", "--model", "Sparse", *data, *NETWORK, *QUIET, *gates, *run])
    label = np.array(Image.open(tmp_path / "run" / "pseudo_labels" / "i5.png"))
    assert set(np.unique(label)) <= {0, 1}
    assert (label[20, 12:28], label[7, 7]) == (pytest.approx(1), 0)


def test_other_methods_and_other_gates_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*tiny(), "--data", "Shapes", "--evaluation.gate_by_labels", "true"]
    with pytest.raises((ValueError, SystemExit), match="takes sparse labels"):
        ZooCLI(["predict", "--model", "Supervised", *options])
    with pytest.raises((ValueError, SystemExit)):
        ZooCLI(["predict", "--model", "Sparse", *options, "--evaluation.gate_by_tags", "true"])


def test_refit_needs_gated_whole_images():
    with pytest.raises(ValueError, match=r"needs evaluation\.gate_by_labels true"):
        Evaluation(refit_by_labels=True)
    with pytest.raises(ValueError, match=r"set evaluation\.window to null"):
        Evaluation(gate_by_labels=True, refit_by_labels=True, window=64)
