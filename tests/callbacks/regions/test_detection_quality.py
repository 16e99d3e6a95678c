import json

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import trainer_in
from wsss_zoo.callbacks.regions.detection_quality import (
    describe_detection,
    publish_detection,
    report_of_counts,
)
from wsss_zoo.functional import detection_report

NAMES = ["background", "cat", "dog", "cow"]


@pytest.fixture
def report():
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(200, generator=generator)
    labels = torch.randint(0, 3, (200,), generator=generator)
    is_correct = torch.rand(200, generator=generator) < 0.6
    return losses, labels, is_correct


def test_counts_give_the_report_of_the_pixels(report):
    losses, labels, is_correct = report
    clean = losses <= 0.4
    counts = torch.zeros(4, 4, dtype=torch.int64)
    for label, own, right in zip(labels.tolist(), clean.tolist(), is_correct.tolist(), strict=True):
        counts[label] += torch.tensor([1, own, right, own and right])
    expected = detection_report(losses, labels, is_correct, 0.4, 4)
    assert report_of_counts(counts) == expected
    assert expected["class_precision"][3] is None


def test_description_has_numbers_only_where_something_was_counted(report):
    losses, labels, is_correct = report
    described = describe_detection(detection_report(losses, labels, is_correct, 0.4, 4), NAMES, "g")
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


def test_metrics_are_logged_and_printed(report, tmp_path, capsys):
    losses, labels, is_correct = report
    described = describe_detection(detection_report(losses, labels, is_correct, 0.4, 4), NAMES, "g")
    trainer = trainer_in(tmp_path, logger=CSVLogger(str(tmp_path), name="", version=""))
    publish_detection(trainer, "what it is", described)
    printed = capsys.readouterr().out
    assert printed.startswith("what it is\n")
    assert f"{described['overall']['coverage']:.4f}" in printed
    assert "cow" in printed
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert {"g/precision", "g/recall/dog"} <= set(header.split(","))
