"""Labels from activation maps do without the classes that nearly every image is tagged with."""

import csv
import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny
from tests.callbacks.fakes import NAMES, ToyCAM, ToyData, ToySegmenter, seed_of, trainer_in
from tests.each import each
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.metrics.label_quality import THRESHOLDS
from wsss_zoo.callbacks.writers.auto_threshold import read_threshold
from wsss_zoo.callbacks.writers.cam_labels import CamLabelOptions, cam_pseudo_label, refine_cams
from wsss_zoo.callbacks.writers.constant_tags import constant_tags, find_constant_tags
from wsss_zoo.cli import main
from wsss_zoo.files.pseudo_labels import read_cam, read_confidence, read_label, read_manifest
from wsss_zoo.functional import confusion_matrix, mean_iou

MANY = [f"photo_{number}" for number in range(20)]
CAT = (0,)


class Cats(ToyData):
    """Cats in all images, and mostly something else; the first image shows a cat alone."""

    fg_names = NAMES[1:]

    def __init__(self, **options):
        super().__init__(MANY, **options)
        self.tagged = MANY

    def image_labels_of(self, image_id):
        others = 0 if image_id == MANY[0] else 1 + seed_of(image_id) % 3
        return np.array([1, others & 1, others >> 1], dtype=np.uint8)

    def tagged_ids(self):
        return self.tagged

    def labels_of(self, image_ids, *, from_masks):
        return {image_id: self.image_labels_of(image_id) for image_id in image_ids}


class Others(Cats):
    """The same images, of which nobody says that they show cats."""

    def image_labels_of(self, image_id):
        return super().image_labels_of(image_id) * np.array([0, 1, 1], dtype=np.uint8)


def predict(folder, method, data, **options):
    trainer = trainer_in(folder, PseudoLabelWriter(**options))
    trainer.predict(method, datamodule=data, return_predictions=False)
    return folder / "pseudo_labels"


def metrics_of(folder):
    return json.loads((folder / "quality.json").read_text())["metrics"]


@each("seed", range(30))
def test_the_classes_by_a_loop(seed):
    rng = np.random.default_rng(seed)
    images, shares = int(rng.integers(15, 60)), rng.choice([0.0, 0.1, 0.4, 0.95, 1.0], 4)
    tags = {str(i): (rng.random(4) < shares).astype(np.uint8) for i in range(images)}
    names, expected = ["a", "b", "c", "d"], {}
    for k, name in enumerate(names):
        count = sum(int(present[k]) for present in tags.values())
        if images >= 20 and count > 0.9 * images:
            expected[name] = count / images
    tagged = kept = 0
    for present in tags.values():
        given = {name for name, value in zip(names, present, strict=True) if value}
        tagged += bool(given)
        kept += bool(given - set(expected))
    assert constant_tags(tags, names) == (expected if 2 * kept >= tagged else {})


def test_nothing_is_given_up_where_little_would_be_left():
    one, pair = np.array([1, 0], np.uint8), np.array([1, 1], np.uint8)
    names = ["cat", "dog"]
    assert constant_tags({str(i): one for i in range(40)}, names) == {}
    assert constant_tags({str(i): pair for i in range(40)}, names) == {}
    for others, expected in ((19, {}), (20, {"cat": 1.0})):
        tags = {str(i): pair if i < others else one for i in range(40)}
        assert constant_tags(tags, names) == expected
    assert constant_tags({}, names) == {}


@each(
    "options",
    [
        {"bg_threshold": 0.4},
        {"bg_power": 2.0},
        {"fg_conf": 0.7, "bg_conf": 0.4},
        {"bg_threshold": 0.4, "crf": True},
        {"saliency_dir": "maps"},
    ],
)
def test_a_label_is_that_of_the_other_maps(options):
    rng = np.random.default_rng(0)
    cam = torch.from_numpy(rng.random((4, 9, 8)).astype(np.float32))
    image = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    saliency = rng.random((9, 8)).astype(np.float32)
    dropped = CamLabelOptions(**options, dropped=(1, 3))
    label = cam_pseudo_label(cam, torch.ones(4), dropped, image, saliency)
    # Without these channels at all: classes 1 and 2 of two are 1 and 3 of four.
    alone = cam_pseudo_label(
        cam[[0, 2]], torch.ones(2), CamLabelOptions(**options), image, saliency
    )
    assert {1, 2} < set(np.unique(alone))
    np.testing.assert_array_equal(label, np.where(alone == 2, 3, alone))
    # Nothing is known of an image with no other tag, but that background is not salient.
    label = cam_pseudo_label(cam, torch.tensor([0, 1, 0, 1]), dropped, image, saliency)
    with_saliency = np.where(saliency < np.float32(32 / 255), 0, 255)
    np.testing.assert_array_equal(label, with_saliency if "saliency_dir" in options else 255)
    # No object at all is still background.
    assert not cam_pseudo_label(cam, torch.zeros(4), dropped, image, saliency).any()


def test_labels_are_those_of_the_other_tags(tmp_path, caplog):
    data, options = Cats(), {"fg_conf": 0.6, "bg_conf": 0.4}
    with caplog.at_level(logging.INFO):
        labels = predict(tmp_path / "cats", ToyCAM(), data, **options)
    assert "'cat' is in 100 % of the training images: labels are made without" in caplog.text
    assert read_manifest(labels).options["dropped_classes"] == ["cat"]
    others = predict(tmp_path / "others", ToyCAM(), Others(), **options)
    assert "dropped_classes" not in read_manifest(others).options
    for image_id in MANY[1:]:
        label = read_label(labels, image_id)
        np.testing.assert_array_equal(label, read_label(others, image_id))
        assert read_confidence(labels, image_id) == read_confidence(others, image_id)
    assert (read_label(labels, MANY[0]) == 255).all()
    # The estimates do not miss the cats; an image of them alone is neither right nor wrong.
    found = metrics_of(labels)
    assert "estimate/missing/cat" not in found
    assert found["estimate/missing"] == metrics_of(others)["estimate/missing"]
    lost = sum(
        any(
            (read_label(labels, i) == k + 1).sum() == 0 and data.image_labels_of(i)[k]
            for k in (1, 2)
        )
        for i in MANY
    )
    assert found["estimate/missing_images"] == pytest.approx(lost / len(MANY))
    assert found["pseudo/iou/cat"] == 0


def test_par_and_the_threshold_see_the_other_maps_alone(tmp_path):
    options = {"bg_threshold": "auto", "par": True}
    labels = predict(tmp_path / "cats", ToyCAM(), Cats(), **options)
    others = predict(tmp_path / "others", ToyCAM(), Others(), **options)
    assert read_threshold(labels) == read_threshold(others)
    everything = predict(tmp_path / "all", ToyCAM(), Cats(), drop_constant_tags=False, **options)
    assert read_threshold(labels) != read_threshold(everything)
    agreement = "estimate/agreement"
    assert metrics_of(labels)[agreement] != metrics_of(everything)[agreement]
    sample = Others().sample(MANY[3])
    cam = sample["image"] * sample["image_labels"][:, None, None]
    refined = refine_cams(cam[None], sample["image_labels"][None], sample["image"][None])[0]
    cut = CamLabelOptions(read_threshold(labels))
    expected = cam_pseudo_label(refined, sample["image_labels"], cut)
    np.testing.assert_array_equal(read_label(labels, MANY[3]), expected)


def test_all_maps_are_kept_and_the_sweep_is_of_those_that_count(tmp_path):
    data = Cats()
    labels = predict(tmp_path, ToyCAM(), data, save_cams=True)
    for image_id in MANY:
        assert (
            read_cam(labels, image_id)[1].tolist()
            == data.image_labels_of(image_id).nonzero()[0].tolist()
        )
    sweep = json.loads((labels / "quality.json").read_text())["sweep"]
    for place in range(0, len(THRESHOLDS), 12):
        confusion = torch.zeros(4, 4, dtype=torch.int64)
        for image_id in MANY[1:]:  # of the first nothing is known
            cam, classes = read_cam(labels, image_id)
            maps, tags = torch.zeros(3, *cam.shape[1:], dtype=torch.float64), torch.zeros(3)
            maps[classes], tags[classes] = torch.from_numpy(cam / 255), 1
            cut = CamLabelOptions(THRESHOLDS[place], dropped=CAT)
            label, truth = cam_pseudo_label(maps, tags, cut), data.read_mask(image_id)
            confusion += confusion_matrix(torch.from_numpy(label), torch.from_numpy(truth), 4)
        assert sweep["miou"][place] == pytest.approx(mean_iou(confusion), abs=1e-6)


def test_a_killed_run_goes_on_and_other_labels_are_refused(tmp_path):
    whole = predict(tmp_path / "whole", ToyCAM(), Cats())
    killed = ToyCAM()
    killed.fail_at = MANY[7]
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "run", killed, Cats())
    with pytest.raises(ValueError, match="with other options dropped_classes"):
        predict(tmp_path / "run", ToyCAM(), Cats(), drop_constant_tags=False)
    method = ToyCAM()
    run = predict(tmp_path / "run", method, Cats())
    assert len(method.seen) == len(MANY) - 7
    assert {p.name: p.read_bytes() for p in run.iterdir()} == {
        p.name: p.read_bytes() for p in whole.iterdir()
    }
    # As before there was the option.
    every = predict(tmp_path / "all", ToyCAM(), Cats(), drop_constant_tags=False)
    options = {"bg_threshold": 0.15, "crf": False, "save_cams": False}
    assert read_manifest(every).options == options
    assert (read_label(every, MANY[0]) == 1).any()


def test_which_images_tell(caplog):
    data = Cats()
    data.tagged = MANY[:19]
    assert find_constant_tags(data) == []
    assert find_constant_tags(ToyData(MANY)) == []  # lists no tagged images

    def fails():
        raise FileNotFoundError("split 'train_weak': no such list")

    data.tagged_ids = fails
    with caplog.at_level(logging.INFO):
        assert find_constant_tags(data) == ["cat"]
    assert "of the images of predict_split 'train': labels are made" in caplog.text


def test_segmenters_have_no_such_option(tmp_path):
    labels = predict(tmp_path / "a", ToySegmenter(), Cats())
    assert "dropped_classes" not in read_manifest(labels).options
    with pytest.raises(ValueError, match="drop_constant_tags are for activation maps"):
        predict(tmp_path / "b", ToySegmenter(), Cats(), drop_constant_tags=False)


def test_on_the_command_line(tmp_path, caplog):
    rng = np.random.default_rng(0)
    rows = [["id", "classes"]]
    (tmp_path / "data/images").mkdir(parents=True)
    for number, image_id in enumerate(MANY):
        picture = Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8))
        picture.save(tmp_path / f"data/images/{image_id}.png")
        rows.append([image_id, ";".join(["shoes", *[["hat", "bag"][number % 2]][: number > 0]])])
    with (tmp_path / "data/image_labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "data/classes.txt").write_text("background\nbag\nhat\nshoes\n")
    data = ["--data", "Folder", "--data.root", str(tmp_path / "data"), "--data.train_split", "all"]
    data += ["--data.predict_split", "all", "--data.num_workers", "0", *tiny.NETWORK, *tiny.QUIET]
    command = ["predict", "--model", "CAM", *data, "--seed_everything", "0"]
    assert main([*command, "--trainer.default_root_dir", str(tmp_path / "run")]) == 0
    assert "'shoes' is in 100 % of the training images" in caplog.text
    labels = tmp_path / "run/pseudo_labels"
    assert read_manifest(labels).options["dropped_classes"] == ["shoes"]
    values = set().union(*(np.unique(read_label(labels, i)).tolist() for i in MANY[1:]))
    assert len(values) > 1
    assert values <= {0, 1, 2}
    assert (read_label(labels, MANY[0]) == 255).all()
    off = ["--labels.drop_constant_tags", "false"]
    assert main([*command, "--trainer.default_root_dir", str(tmp_path / "all"), *off]) == 0
    assert (read_label(tmp_path / "all/pseudo_labels", MANY[0]) != 255).all()
    with pytest.raises(ValueError, match="dropped_classes"):
        main([*command, "--trainer.default_root_dir", str(tmp_path / "run"), *off])
