import json

import numpy as np
import pytest
import torch

from tests.callbacks.fakes import IDS, NAMES, ToyCAM, ToyData, ToySegmenter, trainer_in
from tests.each import each
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.metrics.label_estimate import EstimateCounts, sampled_ids
from wsss_zoo.files.pseudo_labels import read_confidence, read_label, write_label
from wsss_zoo.functional import color_separation


def predict(folder, method, data, **options):
    trainer = trainer_in(folder, PseudoLabelWriter(**options))
    trainer.predict(method, datamodule=data, return_predictions=False)
    return json.loads((folder / "pseudo_labels" / "quality.json").read_text())


@each("method", [ToyCAM, ToySegmenter])
def test_estimates_equal_a_loop_over_the_files(tmp_path, method):
    data = ToyData(masks=False)
    folder = tmp_path / method.__name__
    options = {"fg_conf": 0.6, "bg_conf": 0.4} if method is ToyCAM else {"conf_thresh": 0.6}
    report = predict(folder, method(), data, **options)
    assert report["images"] == len(IDS)
    separations, confidences = [], []
    pixels = labelled = untagged_images = untagged_pixels = missing_images = 0
    by_class, tagged, missing = np.zeros(4), np.zeros(3), np.zeros(3)
    for image_id in IDS:
        label, tags = read_label(folder / "pseudo_labels", image_id), data.image_labels_of(image_id)
        image = torch.from_numpy(data.read_image(image_id)).permute(2, 0, 1)
        if (label != 255).any():
            separations.append(color_separation(image, torch.from_numpy(label)))
            confidences.append(read_confidence(folder / "pseudo_labels", image_id))
        pixels, labelled = pixels + label.size, labelled + (label != 255).sum()
        counts = np.array([(label == index).sum() for index in range(4)])
        by_class += counts
        wrong = counts[1:] * (tags == 0)
        lost = (counts[1:] == 0) & (tags == 1)
        untagged_images += wrong.any()
        untagged_pixels += wrong.sum()
        missing_images += lost.any()
        tagged, missing = tagged + tags, missing + lost
    metrics = {name.removeprefix("estimate/"): v for name, v in report["metrics"].items()}
    assert all(name.startswith("estimate/") for name in report["metrics"])
    expected = {
        "separation": np.mean(separations),
        "confidence": np.mean(confidences),
        "coverage": labelled / pixels,
        "untagged_images": untagged_images / len(IDS),
        "untagged_pixels": untagged_pixels / labelled,
        "missing_images": missing_images / len(IDS),
        "missing": (missing / tagged).mean(),
        **{f"share/{name}": n / labelled for name, n in zip(NAMES, by_class, strict=True)},
        **{f"missing/{n}": v for n, v in zip(NAMES[1:], missing / tagged, strict=True)},
    }
    assert metrics.pop("agreement", None) is None or method is ToyCAM
    assert metrics == pytest.approx(expected, abs=1e-6)


def test_confidence_is_that_of_the_labelled_pixels(tmp_path):
    data = ToyData()
    predict(tmp_path, ToyCAM(), data, fg_conf=0.6, bg_conf=0.4)
    folder = tmp_path / "pseudo_labels"
    for image_id in IDS:
        sample, label = data.sample(image_id), read_label(folder, image_id)
        cam = (sample["image"] * sample["image_labels"][:, None, None]).numpy()
        scores = [
            1 - cam[:, y, x].max() if label[y, x] == 0 else cam[label[y, x] - 1, y, x]
            for y, x in zip(*np.nonzero(label != 255), strict=True)
        ]
        assert read_confidence(folder, image_id) == pytest.approx(np.mean(scores), abs=2e-6)


def test_a_killed_run_has_the_estimates_of_a_whole_one(tmp_path):
    data = ToyData(masks=False)
    whole = predict(tmp_path / "whole", ToySegmenter(), data)
    killed = ToySegmenter()
    killed.fail_at = IDS[3]
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "run", killed, data)
    assert predict(tmp_path / "run", ToySegmenter(), data) == whole


def test_images_without_tags_or_confidence(tmp_path):
    counts = EstimateCounts(4, 1)
    assert counts.metrics(NAMES) == {}
    label = np.array([[0, 2, 255]], dtype=np.uint8)
    counts.add(label, None, None)
    metrics = counts.metrics(NAMES)
    assert metrics["estimate/coverage"] == pytest.approx(2 / 3)
    assert metrics["estimate/share/cow"] == 0.5
    assert not any("tagged" in name or "missing" in name for name in metrics)
    assert "estimate/confidence" not in metrics
    write_label(tmp_path, "a", label)
    assert read_confidence(tmp_path, "a") is None
    write_label(tmp_path, "a", label, 0.25)
    assert read_confidence(tmp_path, "a") == 0.25
    np.testing.assert_array_equal(read_label(tmp_path, "a"), label)


def test_parts_add_up_in_any_order():
    rng = np.random.default_rng(0)
    images = [
        (rng.integers(0, 4, (6, 5)).astype(np.uint8), rng.integers(0, 2, 3).astype(np.uint8))
        for _ in range(6)
    ]
    totals = []
    for order in (range(6), range(5, -1, -1)):
        counts = EstimateCounts(4, 1)
        for index in order:
            label, tags = images[index]
            counts.add(label, tags, 0.1 * index)
            counts.add_colors(np.stack([label * 7, label, label * 3], -1), label)
        totals.append(counts.total)
    assert torch.equal(*totals)


def test_sample_is_chosen_by_the_ids():
    ids = [f"img_{number}" for number in range(100)]
    assert sampled_ids(ids, 10) == sampled_ids(ids[::-1], 10)
    assert len(set(sampled_ids(ids, 10))) == 10
    assert sampled_ids(ids[:3], 10) == sampled_ids(ids[:3], 3)
    assert set(sampled_ids(ids, 5)) < set(sampled_ids(ids, 10))
