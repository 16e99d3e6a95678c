import json
import math

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import IDS, NAMES, ToyCAM, trainer_in
from tests.callbacks.region_fakes import (
    RegionData,
    RegionMethod,
    files_in,
    given_label,
    predict,
    write_given,
)
from tests.each import each
from wsss_zoo.callbacks import NoiseDetector
from wsss_zoo.callbacks.regions import noise_detector as module
from wsss_zoo.callbacks.regions.noise_detector import regular_grid
from wsss_zoo.files.pseudo_labels import write_label
from wsss_zoo.functional import label_loss


@pytest.fixture
def given(tmp_path):
    return write_given(tmp_path / "given", RegionData())


def read(folder):
    return json.loads((folder / "noise" / "threshold.json").read_text())


def naive_pixels(data, method):
    """Loss, label and correctness of every pixel with a label and a true class."""
    losses, labels, is_correct = [], [], []
    for image_id in data.ids:
        sample = data.sample(image_id)
        with torch.no_grad():
            logits = method(sample["image"][None])[0]
        kept = [0, *(sample["image_labels"].nonzero().flatten() + 1).tolist()]
        label, mask = given_label(data, image_id), data.read_mask(image_id)
        for y, x in np.argwhere((label != 255) & (mask != 255)).tolist():
            scores = logits[kept, y, x].tolist()
            own = scores[kept.index(label[y, x])]
            losses.append(math.log(sum(math.exp(score - own) for score in scores)))
            labels.append(label[y, x])
            is_correct.append(label[y, x] == mask[y, x])
    # Equal pixels have equal losses.
    return np.array(losses).round(5), np.array(labels), np.array(is_correct)


@each("per_class", [False, True])
def test_threshold_against_a_loop_over_pixels(tmp_path, given, per_class):
    data, method, folder = RegionData(), RegionMethod(), tmp_path / str(per_class)
    losses, labels, is_correct = naive_pixels(data, method)
    predict(folder, data, {"pseudo_label_dir": given, "precision": 0.85, "per_class": per_class})
    found = read(folder)
    gammas = {}
    groups = [("all", labels < 9), *((name, labels == i) for i, name in enumerate(NAMES))]
    for name, own in groups:
        values = np.unique(losses[own])
        reached = [v for v in values if is_correct[own & (losses <= v)].mean() >= 0.85]
        gammas[name] = reached[-1] if reached else None
    assert found["gamma"] == pytest.approx(gammas["all"], rel=1e-4)
    for name in NAMES:
        expected = gammas[name]
        assert found["gammas"][name] == (expected and pytest.approx(expected, rel=1e-4))
    used = [found["gammas"][n] if per_class else found["gamma"] for n in NAMES]
    clean = losses <= np.array([-np.inf if g is None else g + 1e-5 for g in used])[labels]
    assert found["overall"]["precision"] == pytest.approx(is_correct[clean].mean())
    assert found["overall"]["coverage"] == pytest.approx(clean.mean())
    assert found["overall"]["recall"] == pytest.approx(clean[is_correct].mean())
    assert found["metrics"]["noise/coverage/cow"] == pytest.approx(clean[labels == 2].mean())
    assert found["overall"]["precision"] >= 0.85
    assert (found["images"], found["pixels"]) == (len(IDS), len(losses))
    assert (found["precision_asked"], found["per_class"]) == (0.85, per_class)
    assert found["class_names"] == NAMES
    best = [is_correct[losses <= t].sum() / is_correct.sum() for t in losses]
    worst = [(~is_correct)[losses <= t].sum() / (~is_correct).sum() for t in losses]
    expected = losses[np.argmax(np.array(best) - np.array(worst))]
    assert found["youden"] == pytest.approx(expected, rel=1e-4)


def test_true_masks_of_novel_classes_are_not_looked_at(tmp_path, given):
    data = RegionData()
    seen = [(given_label(data, i), data.read_mask(i)) for i in data.ids]
    data.novel_classes = [NAMES[2]]
    predict(tmp_path, data, {"pseudo_label_dir": given, "precision": 0.85})
    known = sum(((label != 255) & (mask != 255) & (mask != 2)).sum() for label, mask in seen)
    assert known < sum(((label != 255) & (mask != 255)).sum() for label, mask in seen)
    assert read(tmp_path)["pixels"] == known


def test_files_and_metrics(tmp_path, given, capsys):
    logger = CSVLogger(str(tmp_path), name="log", version="")
    predict(tmp_path, RegionData(), {"pseudo_label_dir": given, "precision": 0.8}, logger=logger)
    assert sorted(files_in(tmp_path / "noise")) == ["losses.png", "threshold.json"]
    header, row = (tmp_path / "log" / "metrics.csv").read_text().splitlines()[:2]
    values = dict(zip(header.split(","), row.split(","), strict=True))
    found = read(tmp_path)
    assert float(values["noise/gamma"]) == pytest.approx(found["gamma"])
    assert float(values["noise/recall/cat"]) == pytest.approx(found["by_class"]["cat"]["recall"])
    printed = capsys.readouterr().out
    assert "threshold.json: labels taken for clean, against 6 masks" in printed
    assert f"{found['overall']['precision']:.4f}" in printed


def test_off_without_a_folder(tmp_path):
    predict(tmp_path, RegionData())
    assert not (tmp_path / "noise").exists()


def test_killed_prediction_is_finished_by_the_same_command(tmp_path, given):
    options = {"pseudo_label_dir": given, "precision": 0.8}
    predict(tmp_path / "whole", RegionData(), options)
    killed = RegionMethod()
    killed.fail_at = IDS[3]
    data = RegionData()
    with pytest.raises(RuntimeError, match="killed"):
        predict(tmp_path / "run", data, options, method=killed)
    assert not (tmp_path / "run" / "noise" / "threshold.json").exists()
    resumed = predict(tmp_path / "run", data, options)
    assert resumed.seen == IDS[3:]
    assert files_in(tmp_path / "run") == files_in(tmp_path / "whole")


def test_finished_run_has_nothing_left_to_do_but_prints(tmp_path, given, capsys):
    options = {"pseudo_label_dir": given, "precision": 0.8}
    predict(tmp_path, RegionData(), options)
    before = files_in(tmp_path)
    capsys.readouterr()
    assert predict(tmp_path, RegionData(), options).seen == []
    assert files_in(tmp_path) == before
    assert "noise/precision" in capsys.readouterr().out


@pytest.mark.parametrize("killed", [False, True])
def test_measured_otherwise_all_is_measured_again(tmp_path, given, killed):
    """The label maps are the same and stay; losses of another grid are not mixed in."""
    first = RegionMethod()
    if killed:
        first.fail_at = IDS[3]
        with pytest.raises(RuntimeError, match="killed"):
            predict(tmp_path, RegionData(), {"pseudo_label_dir": given}, method=first)
    else:
        predict(tmp_path, RegionData(), {"pseudo_label_dir": given})
    options = {"pseudo_label_dir": given, "precision": 0.7, "max_pixels_per_image": 40}
    assert predict(tmp_path, RegionData(), options).seen == IDS
    found = read(tmp_path)
    assert found["precision_asked"] == 0.7
    assert found["pixels"] <= 40 * len(IDS)


def test_label_maps_of_an_earlier_run_do_not_hide_images(tmp_path, given):
    predict(tmp_path, RegionData())
    assert (
        predict(tmp_path, RegionData(), {"pseudo_label_dir": given, "precision": 0.8}).seen == IDS
    )
    assert read(tmp_path)["images"] == len(IDS)


def test_memory_does_not_grow_with_the_images(tmp_path, given, monkeypatch):
    monkeypatch.setattr(module, "_MAX_PIXELS", 10 * len(IDS))
    predict(tmp_path, RegionData(), {"pseudo_label_dir": given, "precision": 0.5})
    assert read(tmp_path)["pixels"] <= 10 * len(IDS)


@each("size", [(375, 500), (1, 30), (1, 1), (7, 3), (1, 100_000), (64, 64)])
@each("most", [1, 10, 1000, 20_000])
def test_grid_is_regular_and_as_fine_as_it_may_be(size, most):
    rows, columns = regular_grid(*size, most)
    ys, xs = range(size[0])[rows], range(size[1])[columns]
    assert 1 <= len(ys) * len(xs) <= max(most, 1)
    assert rows.step == columns.step
    if len(ys) * len(xs) < size[0] * size[1]:
        step = rows.step - 1
        finer = -(-size[0] // step) * -(-size[1] // step)
        assert finer > 0.5 * most
    else:
        assert (len(ys), len(xs)) == size


def test_a_precision_that_no_threshold_reaches(tmp_path, given):
    data = RegionData()
    for image_id in data.ids:  # every label is wrong
        mask, tags = data.read_mask(image_id), data.image_labels_of(image_id)
        wrong = np.where(mask == 0, 1 + tags.argmax(), 0).astype(np.uint8)
        write_label(tmp_path / "given", image_id, np.where(mask == 255, 255, wrong))
    with pytest.warns(UserWarning, match=r"has no threshold, no loss below .*lower --noise.prec"):
        predict(tmp_path, data, {"pseudo_label_dir": given})
    found = read(tmp_path)
    assert found["gamma"] is None
    assert found["why"]["gamma"].startswith("no loss below which a share of 0.95")
    assert found["overall"] == {"precision": None, "coverage": 0.0, "recall": None}


def test_no_pixel_to_measure(tmp_path, given):
    data = RegionData()
    for image_id in data.ids:
        write_label(tmp_path / "given", image_id, np.full_like(data.read_mask(image_id), 255))
    with pytest.raises(RuntimeError, match="none of the 6 images has a pixel with a true class"):
        predict(tmp_path, data, {"pseudo_label_dir": given})
    assert data.resumed_by == []


def test_a_loss_that_is_nan(tmp_path, given, monkeypatch):
    def broken(logits, label):
        loss = label_loss(logits, label)
        loss[..., 5] = torch.nan
        return loss

    monkeypatch.setattr(module, "label_loss", broken)
    with pytest.raises(RuntimeError, match=r"losses of given labels are NaN; check the network"):
        predict(tmp_path, RegionData(), {"pseudo_label_dir": given})


def test_images_without_a_mask_are_named(tmp_path, given):
    with pytest.raises(ValueError, match=r"6 of 6 images have no mask, first: img_0, img_1, img_2"):
        predict(tmp_path, RegionData(masks=False), {"pseudo_label_dir": given})
    assert not (tmp_path / "pseudo_labels").exists()


def test_limited_prediction_is_not_finished(tmp_path, given):
    options = {"pseudo_label_dir": given, "precision": 0.8}
    predict(tmp_path, RegionData(), options, limit_predict_batches=2)
    assert not (tmp_path / "noise" / "threshold.json").exists()
    assert predict(tmp_path, RegionData(), options).seen == IDS[2:]
    assert read(tmp_path)["images"] == len(IDS)


def test_fast_dev_run_writes_nothing(tmp_path, given):
    predict(tmp_path, RegionData(), {"pseudo_label_dir": given}, fast_dev_run=True)
    assert not (tmp_path / "noise").exists()


def test_mask_of_another_size(tmp_path, given):
    data = RegionData()
    sample = data.sample
    data.sample = lambda i: sample(i) | {"mask": torch.zeros(3, 3, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"the mask of img_0 is \(3, 3\), its image \(\d+, 54\)"):
        predict(tmp_path, data, {"pseudo_label_dir": given})


@each(
    ("options", "message"),
    [
        ({"precision": 0.0}, "precision is 0.0"),
        ({"precision": 1.5}, "precision is 1.5"),
        ({"max_pixels_per_image": 0}, "max_pixels_per_image is 0"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        NoiseDetector(**options)


class View:
    def __init__(self, **options):
        vars(self).update({"window": None, "scales": (1.0,), "flip": False} | options)


@pytest.mark.parametrize("options", [{"window": 8}, {"scales": (0.5, 1.0)}, {"flip": True}])
def test_one_view_of_the_whole_image(tmp_path, given, options):
    method = RegionMethod()
    method.evaluation = View(**options)
    message = f"noise.pseudo_label_dir takes one pass .* evaluation.{next(iter(options))} is"
    with pytest.raises(ValueError, match=message):
        predict(tmp_path, RegionData(), {"pseudo_label_dir": given}, method=method)


def test_method_without_a_network(tmp_path, given):
    with pytest.raises(ValueError, match="ToyCAM has no network of a backbone and a decoder"):
        predict(tmp_path, RegionData(), {"pseudo_label_dir": given}, method=ToyCAM())


def test_no_data_module(tmp_path, given):
    trainer = trainer_in(tmp_path, NoiseDetector(given))
    loader = RegionData().predict_dataloader()
    with pytest.raises(ValueError, match="NoiseDetector needs a data module"):
        trainer.predict(RegionMethod(), loader)


def test_folder_is_looked_at_before_any_image(tmp_path):
    method = RegionMethod()
    with pytest.raises(FileNotFoundError, match=r"noise.pseudo_label_dir .* is no folder"):
        predict(tmp_path, RegionData(), {"pseudo_label_dir": str(tmp_path / "no")}, method=method)
    assert method.seen == []
