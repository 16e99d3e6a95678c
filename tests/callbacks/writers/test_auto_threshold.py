import json

import numpy as np
import pytest
import torch

from tests import tiny
from tests.callbacks.fakes import IDS, ToyCAM, ToyData, ToySegmenter, trainer_in
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.writers import auto_threshold
from wsss_zoo.callbacks.writers.auto_threshold import CRF_THRESHOLDS, THRESHOLDS
from wsss_zoo.callbacks.writers.cam_labels import CamLabelOptions, cam_pseudo_label, refine_cams
from wsss_zoo.cli import main
from wsss_zoo.files.pseudo_labels import read_label, read_manifest
from wsss_zoo.functional import score_separation


def predict(folder, method, data=None, trainer_options=None, **options):
    trainer = trainer_in(
        folder, PseudoLabelWriter(bg_threshold="auto", **options), **(trainer_options or {})
    )
    trainer.predict(method, datamodule=data or ToyData(), return_predictions=False)


def cam_of(data, image_id, par=False):
    image, tags = (data.sample(image_id)[name] for name in ("image", "image_labels"))
    cam = image * tags[:, None, None]
    return refine_cams(cam[None], tags[None], image[None])[0] if par else cam, tags


def best_by_a_loop(data, ids, par=False):
    total = np.zeros(len(THRESHOLDS))
    for image_id in ids:
        cam, tags = cam_of(data, image_id, par)
        if tags.any():
            total += score_separation(cam.amax(0), torch.tensor(THRESHOLDS)).numpy()
    return THRESHOLDS[int(total.argmax())]


@pytest.mark.parametrize("par", [False, True])
def test_labels_are_cut_at_the_threshold_of_the_maps(tmp_path, par):
    """With PAR of the refined maps, which are those that are cut."""
    data = ToyData(masks=False)
    predict(tmp_path, ToyCAM(), data, par=par)
    folder, expected = tmp_path / "pseudo_labels", best_by_a_loop(data, IDS, par)
    assert (best_by_a_loop(data, IDS) == expected) is not par
    written = json.loads((folder / "threshold.json").read_text())
    assert written["bg_threshold"] == expected
    assert written["images"] == sum(data.image_labels_of(i).any() for i in IDS)
    assert max(written["separation"]) == written["separation"][THRESHOLDS.index(expected)]
    for image_id in IDS:
        cam, tags = cam_of(data, image_id, par)
        label = cam_pseudo_label(cam, tags, CamLabelOptions(bg_threshold=expected))
        np.testing.assert_array_equal(read_label(folder, image_id), label)
    assert read_manifest(folder).options["bg_threshold"] == "auto"
    metrics = json.loads((folder / "quality.json").read_text())["metrics"]
    assert metrics["estimate/bg_threshold"] == expected
    assert (tmp_path / "threshold.png").stat().st_size > 1000


def test_with_a_crf_by_the_labels_that_it_makes(tmp_path):
    """The share of the scores' variance between both sides of each label, in plain numbers."""
    data = ToyData(masks=False)
    predict(tmp_path, ToyCAM(), data, crf=True)
    total = np.zeros(len(CRF_THRESHOLDS))
    for image_id in IDS:
        cam, tags = cam_of(data, image_id)
        if not tags.any():
            continue
        scores = cam.amax(0).double().numpy()
        for place, threshold in enumerate(CRF_THRESHOLDS):
            options = CamLabelOptions(bg_threshold=threshold, crf=True)
            label = cam_pseudo_label(cam, tags, options, data.read_image(image_id))
            sides = [scores[label == 0], scores[label > 0]]
            inside = sum(((side - side.mean()) ** 2).sum() for side in sides if side.size)
            total[place] += 1 - inside / ((scores - scores.mean()) ** 2).sum()
    written = json.loads((tmp_path / "pseudo_labels/threshold.json").read_text())
    assert written["thresholds"] == list(CRF_THRESHOLDS)
    assert written["separation"] == pytest.approx(list(total / written["images"]), abs=1e-6)
    assert written["bg_threshold"] == CRF_THRESHOLDS[int(total.argmax())]


def test_a_sample_of_the_images_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(auto_threshold, "_IMAGES", 2)
    method = ToyCAM()
    predict(tmp_path, method)
    assert json.loads((tmp_path / "pseudo_labels/threshold.json").read_text())["images"] == 2
    assert len(method.seen) == len(IDS) + 2


def test_a_killed_run_goes_on_with_its_threshold(tmp_path):
    predict(tmp_path / "whole", ToyCAM())
    killed = ToyCAM()
    # The images of the threshold come first, in an order of their own.
    killed.outputs = lambda batch: _fail_at(killed, batch, len(IDS) + 3)
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "run", killed)
    method = ToyCAM()
    predict(tmp_path / "run", method)
    assert len(method.seen) < len(IDS)  # no image for the threshold
    whole, run = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "pseudo_labels").iterdir()}
        for name in ("whole", "run")
    )
    assert run == whole
    # Deleted with the labels.
    (tmp_path / "run/pseudo_labels/threshold.json").write_text('{"bg_threshold": 0.99}')
    predict(tmp_path / "run", ToyCAM(), overwrite=True)
    path = tmp_path / "run/pseudo_labels/threshold.json"
    assert path.read_bytes() == whole["threshold.json"]


def _fail_at(method, batch, count):
    if len(method.seen) > count:
        raise RuntimeError("killed")
    return ToyCAM.outputs(method, batch)


def test_fast_dev_run_writes_nothing(tmp_path):
    predict(tmp_path, ToyCAM(), trainer_options={"fast_dev_run": True})
    assert list(tmp_path.iterdir()) == []


class NoTags(ToyData):
    def image_labels_of(self, image_id):
        return super().image_labels_of(image_id) * 0


def test_nothing_to_choose_by(tmp_path):
    with pytest.raises(ValueError, match=r"auto, but of 0 images of predict_split 'train' none"):
        predict(tmp_path, ToyCAM(), NoTags())
    with pytest.raises(ValueError, match=r"of \d images .* maps that differ .*; give bg_threshold"):
        predict(tmp_path / "b", ToyCAM(weight=0.0))
    message = r"bg_threshold auto, crf, .* ToySegmenter makes label maps"
    with pytest.raises(ValueError, match=message):
        predict(tmp_path / "c", ToySegmenter())


def test_on_the_command_line(tmp_path):
    run = ["--trainer.default_root_dir", str(tmp_path), "--seed_everything", "0"]
    labels = ["--labels.bg_threshold", "auto", "--labels.save_cams", "true"]
    assert main(["predict", "--model", "CAM", *tiny.tiny(), *run, *labels]) == 0
    metrics = json.loads((tmp_path / "pseudo_labels/quality.json").read_text())["metrics"]
    assert 0 < metrics["estimate/bg_threshold"] < 1
    assert (tmp_path / "threshold.png").exists()
    before = (tmp_path / "pseudo_labels/quality.json").read_bytes()
    assert main(["predict", "--model", "CAM", *tiny.tiny(), *run, *labels]) == 0
    assert (tmp_path / "pseudo_labels/quality.json").read_bytes() == before
