import json
import math

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import IDS, NAMES, ToyCAM, ToyData, ToySegmenter, changed, trainer_in
from wsss_zoo.callbacks import ClassificationMetrics, SegmentationMetrics
from wsss_zoo.functional import (
    boundary_counts,
    boundary_f_score,
    harmonic_mean,
    mean_iou,
    small_object_counts,
)


def loop_iou(data: ToyData, method: ToySegmenter) -> tuple[dict[str, float], float]:
    """Intersection over union by class, and pixel accuracy, pixel by pixel."""
    hits, union, right, total = np.zeros(4), np.zeros(4), 0, 0
    for image_id in data.ids:
        sample = data.sample(image_id)
        preds = method.outputs({"image": sample["image"][None]})["preds"][0]
        for truth, pred in zip(
            sample["mask"].flatten().tolist(), preds.flatten().tolist(), strict=True
        ):
            if truth == 255:
                continue
            total += 1
            right += truth == pred
            for c in range(4):
                hits[c] += truth == c == pred
                union[c] += c in (truth, pred)
    iou = {n: hits[c] / union[c] if union[c] else math.nan for c, n in enumerate(NAMES)}
    return iou, right / total


def average_precision(scores: list[float], truth: list[int]) -> float:
    """Sum over distinct scores, from the highest, of recall gained times precision."""
    result, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        gained = sum(chosen) / sum(truth)
        result += (gained - recall) * sum(chosen) / len(chosen)
        recall = gained
    return result


@pytest.mark.parametrize("stage", ["val", "test"])
def test_segmentation_numbers_are_those_of_a_loop(tmp_path, stage):
    data, method = ToyData(), ToySegmenter()
    trainer = trainer_in(tmp_path, SegmentationMetrics())
    run = trainer.validate if stage == "val" else trainer.test
    logged = run(method, data, verbose=False)[0]
    iou, accuracy = loop_iou(data, method)
    assert set(logged) == {f"{stage}/miou", f"{stage}/pixel_acc"} | {
        f"{stage}/iou/{n}" for n in NAMES
    }
    assert logged[f"{stage}/pixel_acc"] == pytest.approx(accuracy)
    assert logged[f"{stage}/miou"] == pytest.approx(np.nanmean(list(iou.values())))
    for name in NAMES:
        assert logged[f"{stage}/iou/{name}"] == pytest.approx(iou[name])


def test_results_file_holds_numbers_and_matrix(tmp_path, capsys):
    data, method = ToyData(), ToySegmenter()
    logged = trainer_in(tmp_path, SegmentationMetrics()).validate(method, data, verbose=False)[0]
    results = json.loads((tmp_path / "val_results.json").read_text())
    assert results["stage"] == "val"
    assert results["method"] == "ToySegmenter"
    assert results["class_names"] == NAMES
    assert results["metrics"] == pytest.approx(logged)
    confusion = np.array(results["confusion"])
    truth = np.concatenate([data.read_mask(i).flatten() for i in IDS])
    np.testing.assert_array_equal(confusion.sum(1), [(truth == c).sum() for c in range(4)])
    printed = capsys.readouterr().out
    assert "ToySegmenter, val" in printed
    assert all(name in printed for name in [*NAMES, "val/miou"])


def test_class_in_neither_truth_nor_prediction_does_not_count(tmp_path):
    names = [*NAMES, "never"]
    trainer = trainer_in(tmp_path, SegmentationMetrics(class_names=names))
    logged = trainer.validate(ToySegmenter(), ToyData(), verbose=False)[0]
    assert "val/iou/never" not in logged
    iou, _ = loop_iou(ToyData(), ToySegmenter())
    assert logged["val/miou"] == pytest.approx(np.nanmean(list(iou.values())))


def test_sanity_check_and_earlier_epochs_do_not_count(tmp_path):
    metrics = SegmentationMetrics()
    trainer = trainer_in(
        tmp_path,
        metrics,
        max_epochs=2,
        num_sanity_val_steps=3,
        log_every_n_steps=1,
        logger=CSVLogger(tmp_path),
    )
    trainer.fit(ToySegmenter(), ToyData())
    iou, _ = loop_iou(ToyData(), ToySegmenter())
    assert trainer.callback_metrics["val/miou"] == pytest.approx(np.nanmean(list(iou.values())))
    pixels = sum(int((ToyData().read_mask(i) != 255).sum()) for i in IDS)
    assert int(metrics.confusion.sum()) == pixels
    # Validation epochs of a fit print no table and leave no file.
    assert not (tmp_path / "val_results.json").exists()


def test_base_novel_and_harmonic(tmp_path):
    data = ToyData()
    data.base_classes, data.novel_classes = ["background", "cat"], ["cow", "dog"]
    logged = trainer_in(tmp_path, SegmentationMetrics()).validate(
        ToySegmenter(), data, verbose=False
    )[0]
    iou, _ = loop_iou(data, ToySegmenter())
    base, novel = (iou["background"] + iou["cat"]) / 2, (iou["cow"] + iou["dog"]) / 2
    assert logged["val/miou_base"] == pytest.approx(base)
    assert logged["val/miou_novel"] == pytest.approx(novel)
    assert logged["val/miou_harmonic"] == pytest.approx(2 * base * novel / (base + novel))


def test_without_novel_classes_there_is_no_harmonic(tmp_path):
    data = ToyData()
    data.base_classes, data.novel_classes = [], []
    logged = trainer_in(tmp_path, SegmentationMetrics()).validate(
        ToySegmenter(), data, verbose=False
    )[0]
    assert not [name for name in logged if "harmonic" in name or "novel" in name]


def test_base_and_novel_are_means_by_the_rule(tmp_path):
    data = ToyData()
    data.base_classes, data.novel_classes = ["cat"], ["cow", "dog"]
    method = changed(ToySegmenter(), lambda batch: {"preds": torch.full_like(batch["mask"], 2)})
    for rule in ("nan-mean", "present", "all"):
        metrics = SegmentationMetrics(miou_rule=rule)
        logged = trainer_in(tmp_path, metrics).validate(method, data, verbose=False)[0]
        means = [logged["val/miou_base"], logged["val/miou_novel"]]
        for names, mean in zip((data.base_classes, data.novel_classes), means, strict=True):
            indices = [data.class_names.index(name) for name in names]
            assert mean == pytest.approx(mean_iou(metrics.confusion, rule, indices))
        assert logged["val/miou_harmonic"] == pytest.approx(harmonic_mean(*means))


def test_all_foreground_novel_has_no_base(tmp_path):
    data = ToyData()
    data.base_classes, data.novel_classes = [], ["cat", "cow", "dog"]
    metrics = SegmentationMetrics()
    logged = trainer_in(tmp_path, metrics).validate(ToySegmenter(), data, verbose=False)[0]
    assert logged["val/miou_novel"] == pytest.approx(
        mean_iou(metrics.confusion, classes=[data.class_names.index(n) for n in data.novel_classes])
    )
    assert "val/miou_base" not in logged
    assert "val/miou_harmonic" not in logged


def test_both_zero_is_harmonic_zero(tmp_path):
    data = ToyData()
    data.base_classes, data.novel_classes = ["cat"], ["cow"]
    method = changed(ToySegmenter(), lambda batch: {"preds": torch.zeros_like(batch["mask"])})
    logged = trainer_in(tmp_path, SegmentationMetrics()).validate(method, data, verbose=False)[0]
    assert logged["val/miou_harmonic"] == 0.0


def test_average_precision_is_that_of_a_loop(tmp_path):
    data, method = ToyData(), ToyCAM()
    logged = trainer_in(tmp_path, ClassificationMetrics()).validate(method, data, verbose=False)[0]
    batches = [data.sample(i) for i in IDS]
    scores = [
        method.outputs({k: v[None] for k, v in b.items() if k != "image_id"})["scores"][0].tolist()
        for b in batches
    ]
    truth = [b["image_labels"].int().tolist() for b in batches]
    values = {
        name: average_precision([s[k] for s in scores], [t[k] for t in truth])
        for k, name in enumerate(NAMES[1:])
    }
    for name, value in values.items():
        assert logged[f"val/ap/{name}"] == pytest.approx(value)
    assert logged["val/map"] == pytest.approx(np.mean(list(values.values())))
    results = json.loads((tmp_path / "val_results.json").read_text())
    assert results["metrics"] == pytest.approx(logged)
    assert results["class_names"] == NAMES[1:]


def test_logits_are_compared_over_the_whole_stage(tmp_path):
    # Batches whose logits all lie in [0, 1] must not be taken for probabilities, nor may large
    # logits become ties.
    logits = dict(zip(IDS, [0.9, 40.0, -3.0, 0.1, 38.0, 0.5], strict=True))
    positive = {i: logits[i] in (40.0, 38.0, 0.9) for i in IDS}

    class Data(ToyData):
        class_names = ("background", "cat")

        def image_labels_of(self, image_id):
            return np.array([positive[image_id], 0, 0], dtype=np.uint8)[:1]

    def scores(batch):
        return {"scores": torch.tensor([[logits[batch["image_id"][0]]]])}

    data = Data(masks=False)
    trainer = trainer_in(tmp_path, ClassificationMetrics())
    logged = trainer.validate(changed(ToyCAM(), scores), data, verbose=False)[0]
    assert logged["val/map"] == 1.0
    positive[IDS[1]] = False  # the very highest: distinguishable from 38.0 only without ties
    trainer = trainer_in(tmp_path, ClassificationMetrics())
    logged = trainer.validate(changed(ToyCAM(), scores), data, verbose=False)[0]
    assert logged["val/map"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_class_without_positives_is_left_out(tmp_path):
    class Data(ToyData):
        def image_labels_of(self, image_id):
            return super().image_labels_of(image_id) * np.array([1, 0, 1], dtype=np.uint8)

    logged = trainer_in(tmp_path, ClassificationMetrics()).validate(
        ToyCAM(), Data(), verbose=False
    )[0]
    assert "val/ap/cow" not in logged
    assert logged["val/map"] == pytest.approx((logged["val/ap/cat"] + logged["val/ap/dog"]) / 2)


def test_no_positives_at_all_is_an_error(tmp_path):
    class Data(ToyData):
        def image_labels_of(self, image_id):
            return np.zeros(3, dtype=np.uint8)

    with pytest.raises(ValueError, match="no image of the val split has a tag"):
        trainer_in(tmp_path, ClassificationMetrics()).validate(
            ToyCAM(), Data(masks=False), verbose=False
        )


def test_masks_without_any_class_are_an_error(tmp_path):
    class Data(ToyData):
        def read_mask(self, image_id):
            return np.full_like(super().read_mask(image_id), 255)

    with pytest.raises(ValueError, match="no pixel of the test masks"):
        trainer_in(tmp_path, SegmentationMetrics()).test(ToySegmenter(), Data(), verbose=False)


@pytest.mark.parametrize(("method", "names"), [(ToySegmenter, {"val/miou"}), (ToyCAM, {"val/map"})])
def test_the_methods_output_decides_who_measures(tmp_path, method, names):
    trainer = trainer_in(tmp_path, SegmentationMetrics(), ClassificationMetrics())
    logged = trainer.validate(method(), ToyData(), verbose=False)[0]
    assert {name for name in logged if name.count("/") == 1 and "acc" not in name} == names


@pytest.mark.parametrize(
    ("metrics", "method", "key"),
    [(SegmentationMetrics, ToySegmenter, "preds"), (ClassificationMetrics, ToyCAM, "scores")],
)
@pytest.mark.parametrize("outputs", [{"other": torch.zeros(1)}, None])
def test_missing_output_names_method_and_key(tmp_path, metrics, method, key, outputs):
    with pytest.raises(KeyError, match=rf"{method.__name__}\.validation_step .*'{key}'"):
        trainer_in(tmp_path, metrics()).validate(
            changed(method(), lambda batch: outputs), ToyData(), verbose=False
        )


def test_missing_mask_names_stage_and_key(tmp_path):
    with pytest.raises(KeyError, match=r"the test batch holds .*'mask'"):
        trainer_in(tmp_path, SegmentationMetrics()).test(
            ToySegmenter(), ToyData(masks=False), verbose=False
        )


@pytest.mark.parametrize(
    ("metrics", "method"), [(SegmentationMetrics, ToySegmenter), (ClassificationMetrics, ToyCAM)]
)
def test_class_names_are_needed(tmp_path, metrics, method):
    data = ToyData()
    with pytest.raises(ValueError, match="does not know the class names"):
        trainer_in(tmp_path, metrics()).validate(method(), data.val_dataloader(), verbose=False)
    names = NAMES if method is ToySegmenter else NAMES[1:]
    trainer = trainer_in(tmp_path, metrics(class_names=names))
    assert trainer.validate(method(), data.val_dataloader(), verbose=False)[0]


def test_fast_dev_run_writes_nothing(tmp_path):
    trainer = trainer_in(tmp_path, SegmentationMetrics(), fast_dev_run=True)
    trainer.validate(ToySegmenter(), ToyData(), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_rule_of_the_mean_and_csv_by_class(tmp_path):
    data, method = ToyData(), ToySegmenter()
    values = {}
    for rule in ("nan-mean", "present", "all"):
        trainer = trainer_in(tmp_path / rule, SegmentationMetrics(miou_rule=rule))
        values[rule] = trainer.validate(method, data, verbose=False)[0]["val/miou"]
    confusion = json.loads((tmp_path / "all" / "val_results.json").read_text())["confusion"]
    for rule, value in values.items():
        assert value == pytest.approx(mean_iou(torch.tensor(confusion), rule), abs=1e-6)
    iou, _ = loop_iou(data, method)
    lines = (tmp_path / "all" / "val_classes.csv").read_text().splitlines()
    assert lines[0] == "class,iou"
    for line, (name, value) in zip(lines[1:], iou.items(), strict=True):
        assert line.split(",")[0] == name
        assert (
            line.split(",")[1] == ""
            if math.isnan(value)
            else math.isclose(float(line.split(",")[1]), value)
        )


def test_boundary_f_is_the_score_of_the_summed_counts(tmp_path):
    data, method = ToyData(), ToySegmenter()
    metrics = SegmentationMetrics(boundary=True, boundary_tolerance=0.05)
    logged = trainer_in(tmp_path, metrics).validate(method, data, verbose=False)[0]
    counts = torch.zeros(len(NAMES), 4, dtype=torch.int64)
    for image_id in data.ids:
        sample = data.sample(image_id)
        preds = method.outputs({"image": sample["image"][None]})["preds"][0]
        tolerance = 0.05 * math.hypot(*sample["mask"].shape)
        counts += boundary_counts(preds, sample["mask"], len(NAMES), tolerance)
    expected = boundary_f_score(counts)
    assert logged["val/boundary_f"] == pytest.approx(float(expected.nanmean()), abs=1e-6)
    header = (tmp_path / "val_classes.csv").read_text().splitlines()[0]
    assert header == "class,iou,boundary_f"


def test_small_recall_is_over_the_objects_of_all_images_but_the_background(tmp_path):
    data, method = ToyData(), ToySegmenter()
    metrics = SegmentationMetrics(small_objects=True, small_area=0.5)
    logged = trainer_in(tmp_path, metrics).validate(method, data, verbose=False)[0]
    counts = torch.zeros(len(NAMES), 2)
    for image_id in data.ids:
        sample = data.sample(image_id)
        preds = method.outputs({"image": sample["image"][None]})["preds"][0]
        counts += small_object_counts(preds, sample["mask"], len(NAMES), 0.5)
    recalls, numbers = counts[1:].sum(0)
    assert numbers > 0
    assert logged["val/small_recall"] == pytest.approx(float(recalls / numbers), abs=1e-6)
    header, background, *_ = (tmp_path / "val_classes.csv").read_text().splitlines()
    assert header == "class,iou,small_recall"
    assert background.endswith(",")
