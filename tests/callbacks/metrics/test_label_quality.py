import numpy as np
import pytest
import torch

from wsss_zoo.callbacks.metrics.label_quality import THRESHOLDS, LabelCounts, count_labels
from wsss_zoo.files.pseudo_labels import write_cam, write_label
from wsss_zoo.functional import cam_to_label, confusion_matrix, mean_iou

NAMES = ["background", "cat", "cow", "dog", "never"]


def random_image(seed: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (H, W), stored maps (k, H, W) and their classes."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 3, 255], (11, 9)).astype(np.uint8)
    # Thresholds are hit exactly: multiples of 51/255 = 0.2.
    cam = rng.choice([0, 51, 102, 153, *range(256)], (k, 11, 9)).astype(np.uint8)
    return truth, cam, np.sort(rng.choice(3, k, replace=False))


def test_sweep_is_labelling_at_each_threshold():
    counts = LabelCounts(5, cams=True)
    images = [random_image(seed, k) for seed, k in enumerate((1, 2, 3, 0))]
    for truth, cam, classes in images:
        counts.add_cam(truth, cam, classes)
    swept = counts.sweep_confusion()
    assert swept.shape == (61, 5, 5)
    for threshold, matrix in zip(THRESHOLDS, swept, strict=True):
        expected = torch.zeros(5, 5, dtype=torch.int64)
        for truth, cam, classes in images:
            full = torch.zeros(4, 11, 9, dtype=torch.float64)
            full[classes] = torch.from_numpy(cam / 255)
            tags = torch.zeros(1, 4)
            tags[0, classes] = 1
            label = cam_to_label(full[None], tags, threshold)[0]
            expected += confusion_matrix(label, torch.from_numpy(truth), 5)
        assert torch.equal(matrix, expected), threshold


def test_report_of_labels():
    truth = np.array([[0, 0, 1, 1, 255]], dtype=np.uint8)
    label = np.array([[0, 1, 1, 255, 2]], dtype=np.uint8)
    counts = LabelCounts(5)
    counts.add(truth, label)
    report = counts.report(NAMES)
    assert report["images"] == 1
    assert report["metrics"] == {
        "pseudo/miou": 0.5,
        "pseudo/coverage": 0.75,
        "pseudo/iou/background": 0.5,
        "pseudo/iou/cat": 0.5,
    }
    assert report["confusion"][:2] == [[1, 1, 0, 0, 0], [0, 1, 0, 0, 0]]


def test_report_names_the_best_threshold():
    truth = np.array([[0, 0, 1, 1]], dtype=np.uint8)
    cam = np.array([[[0, 80, 120, 255]]], dtype=np.uint8)
    counts = LabelCounts(2, cams=True)
    counts.add(truth, np.zeros_like(truth))
    counts.add_cam(truth, cam, np.array([0]))
    report = counts.report(["background", "cat"])
    # 80/255 = 0.3137: from 0.32 on it is background, up to 120/255 = 0.4706.
    assert report["metrics"]["pseudo/best_threshold"] == 0.32
    assert report["metrics"]["pseudo/best_miou"] == 1.0
    assert report["metrics"]["pseudo/miou"] == 0.25
    sweep = report["sweep"]
    assert [t for t, v in zip(sweep["thresholds"], sweep["miou"], strict=True) if v == 1] == [
        step / 100 for step in range(32, 48)
    ]
    assert sweep["best_iou"] == {"background": 1.0, "cat": 1.0}


def test_counts_of_parts_add_up():
    whole, parts = LabelCounts(5, cams=True), [LabelCounts(5, cams=True) for _ in range(2)]
    for seed in range(4):
        truth, cam, classes = random_image(seed, 2)
        label = np.random.default_rng(seed).choice([0, 1, 2, 255], truth.shape).astype(np.uint8)
        for counts in (whole, parts[seed % 2]):
            counts.add(truth, label)
            counts.add_cam(truth, cam, classes)
    parts[1].total.add_(parts[0].total)
    assert parts[1].report(NAMES) == whole.report(NAMES)
    assert torch.equal(parts[1].sizes, whole.sizes)


def test_files_are_counted_where_there_is_a_mask(tmp_path):
    masks = {}
    expected = torch.zeros(5, 5, dtype=torch.int64)
    for seed, image_id in enumerate(("a", "b", "sub/c")):
        truth, cam, classes = random_image(seed, 2)
        label = np.random.default_rng(seed).choice([0, 1, 2], truth.shape).astype(np.uint8)
        write_label(tmp_path, image_id, label)
        write_cam(tmp_path, image_id, cam / 255, classes)
        masks[image_id] = truth
        if image_id != "b":
            expected += confusion_matrix(torch.from_numpy(label), torch.from_numpy(truth), 5)
    masks["b"] = None
    counts = LabelCounts(5, cams=True)
    count_labels(tmp_path, list(masks), masks.get, counts)
    assert counts.sizes[0] == 2
    assert torch.equal(counts.confusion, expected)
    assert counts.report(NAMES)["metrics"]["pseudo/miou"] == mean_iou(expected)
    assert counts.sweep.sum() == counts.sizes[1]


def test_mask_of_another_size_is_named(tmp_path):
    write_label(tmp_path, "a", np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="mask of a is"):
        count_labels(tmp_path, ["a"], lambda _: np.zeros((4, 6), np.uint8), LabelCounts(5))
