import json
import math

import pytest
import torch

from tests.each import each
from wsss_zoo.callbacks.regions.loss_thresholds import (
    choose_thresholds,
    read_thresholds,
    used_thresholds,
)

NAMES = ["background", "cat", "dog", "cow"]


def pixels(seed=0, count=300):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(count, generator=generator) * 3
    labels = torch.randint(0, 3, (count,), generator=generator)
    is_correct = torch.rand(count, generator=generator) > losses / 3
    losses[::50] = torch.inf
    is_correct[::50] = False
    return losses, labels, is_correct


def largest(losses, is_correct, precision):
    """The largest finite loss whose clean pixels are correct often enough."""
    best = None
    for candidate in losses[losses.isfinite()].tolist():
        clean = losses <= candidate
        if is_correct[clean].double().mean() >= precision:
            best = candidate if best is None else max(best, candidate)
    return best


@each("precision", [0.5, 0.8, 0.95])
def test_largest_thresholds_of_a_precision(precision):
    losses, labels, is_correct = pixels()
    chosen = choose_thresholds(losses, labels, is_correct, precision, NAMES)
    assert chosen["gamma"] == largest(losses, is_correct, precision)
    for index, name in enumerate(NAMES[:3]):
        own = labels == index
        assert chosen["gammas"][name] == largest(losses[own], is_correct[own], precision)
    assert chosen["gammas"]["cow"] == chosen["gamma"]
    assert chosen["why"]["cow"] == "no labelled pixel: that of all classes"


def test_no_threshold_has_a_reason():
    losses, labels, is_correct = pixels()
    is_correct[labels == 1] = False
    chosen = choose_thresholds(losses, labels, is_correct, 0.4, NAMES)
    assert chosen["gamma"] is not None
    assert chosen["gammas"]["cat"] is None
    assert "a share of 0.4 of the labels is correct" in chosen["why"]["cat"]
    nothing = choose_thresholds(losses, labels, torch.zeros_like(is_correct), 0.4, NAMES)
    assert nothing["gamma"] is None
    assert set(nothing["why"]) == {"gamma", *NAMES}
    json.dumps(nothing, allow_nan=False)


def test_infinite_losses_are_never_clean():
    losses, is_correct = torch.tensor([0.5, math.inf]), torch.tensor([True, False])
    labels = torch.zeros(2, dtype=torch.int64)
    assert choose_thresholds(losses, labels, is_correct, 0.5, NAMES)["gamma"] == 0.5


def write(path, **changes):
    content = {"gamma": 0.75, "gammas": dict(zip(NAMES, [0.5, None, 1.5, 0.75], strict=True))}
    content |= {"per_class": False, "class_names": NAMES, "why": {}}
    path.write_text(json.dumps(content | changes))
    return str(path)


def test_thresholds_come_from_a_number_or_a_file(tmp_path):
    assert read_thresholds(0.25, NAMES).tolist() == [0.25] * 4
    assert read_thresholds(0, NAMES).tolist() == [0] * 4
    path = write(tmp_path / "one.json")
    assert read_thresholds(path, NAMES).tolist() == [0.75] * 4
    path = write(tmp_path / "each.json", per_class=True)
    assert read_thresholds(path, NAMES).tolist() == [0.5, -math.inf, 1.5, 0.75]
    content = json.loads((tmp_path / "each.json").read_text())
    assert used_thresholds(content, NAMES).tolist() == [0.5, -math.inf, 1.5, 0.75]


@each("value", [-0.1, math.nan, math.inf])
def test_a_loss_is_a_number_from_zero_on(value):
    with pytest.raises(ValueError, match="a loss is a number from 0 on"):
        read_thresholds(value, NAMES)


def test_a_threshold_must_be_given():
    with pytest.raises(ValueError, match=r"needs graphs.threshold.* --noise.pseudo_label_dir"):
        read_thresholds(None, NAMES)


def test_files_that_are_no_thresholds(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a number nor a file; 'wsss-zoo predict"):
        read_thresholds(str(tmp_path / "none.json"), NAMES)
    for text in ("{", "[]", "{}", json.dumps({"class_names": NAMES, "gamma": 1})):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x.json is no threshold.json of .*; give another"):
            read_thresholds(str(tmp_path / "x.json"), NAMES)


def test_thresholds_of_other_classes(tmp_path):
    with pytest.raises(ValueError, match="measure them again with these classes"):
        read_thresholds(write(tmp_path / "x.json"), NAMES[:3])


def test_a_file_without_any_threshold(tmp_path):
    why = {"gamma": "no loss below"}
    path = write(tmp_path / "x.json", gamma=None, why=why)
    with pytest.raises(ValueError, match=r"has no threshold .*no loss below.* lower --noise.prec"):
        read_thresholds(path, NAMES)
