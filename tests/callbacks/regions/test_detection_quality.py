import json

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import trainer_in
from wsss_zoo.callbacks.metrics.publishing import publish_measures
from wsss_zoo.callbacks.regions.detection_quality import (
    MEASURES,
    count_detection,
    describe_detection,
)
from wsss_zoo.functional import detection_report

NAMES = ["background", "cat", "dog", "cow"]


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(200, generator=generator)
    labels = torch.randint(0, 3, (200,), generator=generator)
    is_correct = torch.rand(200, generator=generator) < 0.6
    return losses, labels, is_correct


@pytest.fixture
def described(pixels):
    losses, labels, is_correct = pixels
    return describe_detection(count_detection(labels, losses <= 0.4, is_correct, 4), NAMES, "g")


def test_counted_pixels():
    labels = torch.tensor([0, 1, 1])
    clean, is_correct = torch.tensor([True, False, True]), torch.tensor([True, True, False])
    expected = [[1, 1, 1, 1], [2, 1, 1, 0], [0, 0, 0, 0]]
    assert count_detection(labels, clean, is_correct, 3).tolist() == expected


def test_counts_give_the_report_of_the_pixels(pixels, described):
    expected = detection_report(*pixels, 0.4, 4)
    for measure in MEASURES:
        assert described["overall"][measure] == expected[measure]
        shares = [described["by_class"][name][measure] for name in NAMES]
        assert shares == expected[f"class_{measure}"]
    found = [described["by_class"][name]["pixels"] for name in NAMES]
    assert found == expected["class_pixels"]
    assert expected["class_precision"][3] is None


def test_description_has_numbers_only_where_something_was_counted(described):
    json.dumps(described, allow_nan=False)
    assert described["by_class"]["cow"] == {
        "precision": None,
        "coverage": None,
        "recall": None,
        "pixels": 0,
    }
    metrics = described["metrics"]
    assert metrics["g/precision"] == described["overall"]["precision"]
    assert metrics["g/recall/cat"] == described["by_class"]["cat"]["recall"]
    assert len(metrics) == 3 + 3 * 3


def test_metrics_are_logged_and_printed(described, tmp_path, capsys):
    trainer = trainer_in(tmp_path, logger=CSVLogger(str(tmp_path), name="", version=""))
    publish_measures(trainer, "what it is", described["metrics"], "g", MEASURES, NAMES)
    printed = capsys.readouterr().out
    assert printed.startswith("what it is\n")
    assert f"{described['overall']['coverage']:.4f}" in printed
    assert "cow" in printed
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert {"g/precision", "g/recall/dog"} <= set(header.split(","))
