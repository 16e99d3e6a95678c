"""Agreement of a folder's labels with those of smaller views."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.callbacks.fakes import IDS, ToyCAM, ToyData, ToySegmenter, trainer_in
from tests.each import each
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.metrics.view_agreement import agreement
from wsss_zoo.callbacks.writers.cam_labels import CamLabelOptions, cam_pseudo_label
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.modules import Evaluation


def predict(folder, method, data, **options):
    trainer = trainer_in(folder, PseudoLabelWriter(**options))
    trainer.predict(method, datamodule=data, return_predictions=False)
    report = json.loads((folder / "pseudo_labels" / "quality.json").read_text())
    return report["metrics"].get("estimate/agreement")


@each("small", [(6, 9), (8, 12), (5, 7)])
def test_equals_a_loop_over_the_pixels(small):
    generator = np.random.default_rng(0)
    values = np.array([0, 1, 2, 255], np.uint8)
    label, other = generator.choice(values, (8, 12)), generator.choice(values, small)
    same = []
    for y in range(8):
        for x in range(12):
            seen = other[int((y + 0.5) * small[0] / 8), int((x + 0.5) * small[1] / 12)]
            if label[y, x] != 255 and seen != 255:
                same.append(label[y, x] == seen)
    assert agreement(label, other) == pytest.approx(np.mean(same))
    assert math.isnan(agreement(np.full_like(label, 255), other))


@each("options", [{"bg_threshold": 0.5}, {"fg_conf": 0.6, "bg_conf": 0.4}])
def test_labels_of_maps_are_compared_with_those_of_the_smaller_image(tmp_path, options):
    data, method = ToyData(masks=False), ToyCAM()
    folder = tmp_path / str(len(options))
    found, shares = predict(folder, method, data, **options), []
    for image_id in IDS:
        image, tags = data.read_image(image_id), torch.tensor(data.image_labels_of(image_id))
        height, width = (round(0.75 * side) for side in image.shape[:2])
        view = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        batch = {
            "image": torch.from_numpy(view).permute(2, 0, 1)[None].float() / 255,
            "image_labels": tags[None].float(),
            "image_id": [image_id],
        }
        cam = method.predict_step(batch, 0)["cam"][0]
        label = cam_pseudo_label(cam, tags, CamLabelOptions(**options))
        shares.append(agreement(read_label(folder / "pseudo_labels", image_id), label))
    assert found == pytest.approx(np.nanmean(shares), abs=1e-6)


def test_labels_of_segmenters_agree(tmp_path):
    method = ToySegmenter()
    assert predict(tmp_path / "none", method, ToyData()) is None  # nothing says that it takes views
    method.evaluation = Evaluation()
    assert 0 < predict(tmp_path / "some", method, ToyData()) <= 1


class Untagged(ToyData):
    def image_labels_of(self, image_id):
        return None


def test_labels_of_segmenters_need_no_tags(tmp_path):
    method = ToySegmenter()
    method.evaluation = Evaluation()
    data = Untagged(masks=False)
    # Its batches hold tags nevertheless; what counts is that the views have none.
    data.sample = lambda image_id: ToyData.sample(ToyData(masks=False), image_id)
    assert predict(tmp_path / "a", method, data) == predict(tmp_path / "b", method, ToyData())
