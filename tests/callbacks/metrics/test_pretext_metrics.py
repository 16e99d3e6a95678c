import csv
import json

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from tests.callbacks.fakes import ToyData, ToyMethod, ToySegmenter, changed, trainer_in
from wsss_zoo.callbacks import (
    ClassificationMetrics,
    PredictionVisualizer,
    PretextMetrics,
    PseudoLabelWriter,
    SegmentationMetrics,
)


class ToyPretext(ToyMethod):
    """Numbers for each image: its brightness, and how many there are in it."""

    output = "pretext"

    def outputs(self, batch):
        image = batch["image"] * self.weight
        return {"brightness": image.mean((1, 2, 3)), "loss": image.sum((1, 2, 3))}


def shipped():
    return [
        *(SegmentationMetrics(), ClassificationMetrics(), PretextMetrics()),
        *(PredictionVisualizer(), PseudoLabelWriter()),
    ]


@pytest.mark.parametrize("stage", ["val", "test"])
def test_means_over_images_with_the_other_callbacks_idle(tmp_path, stage, capsys):
    data = ToyData(masks=False)
    trainer = trainer_in(tmp_path, *shipped())
    run = trainer.validate if stage == "val" else trainer.test
    logged = run(ToyPretext(), data, verbose=False)[0]
    images = [data.sample(image_id)["image"] for image_id in data.ids]
    expected = {
        f"{stage}/brightness": torch.stack([image.mean() for image in images]).mean(),
        f"{stage}/loss": torch.stack([image.sum() for image in images]).mean(),
    }
    assert logged == pytest.approx({key: float(value) for key, value in expected.items()})
    results = json.loads((tmp_path / f"{stage}_results.json").read_text())
    assert results["method"] == "ToyPretext"
    assert results["metrics"] == pytest.approx(logged)
    assert f"{stage}/brightness" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [f"{stage}_results.json"]


def test_logged_in_fit_but_not_in_the_sanity_check(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = trainer_in(
        tmp_path, PretextMetrics(), logger=logger, max_epochs=1, log_every_n_steps=1
    )
    trainer.fit(ToyPretext(), ToyData())
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file) if row["val/loss"]] == ["1"]


def test_idle_for_other_methods(tmp_path):
    logged = trainer_in(tmp_path, PretextMetrics()).validate(ToySegmenter(), ToyData())
    assert logged == [{}]


def test_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ToyPretext trains an encoder .* as model\.weights"):
        trainer_in(tmp_path, PseudoLabelWriter()).predict(ToyPretext(), ToyData())


def test_outputs_of_another_form(tmp_path):
    trainer = trainer_in(tmp_path, PretextMetrics())
    with pytest.raises(KeyError, match=r"ToyPretext\.validation_step returned Tensor"):
        trainer.validate(changed(ToyPretext(), lambda batch: batch["image"]), ToyData())
    maps = changed(ToyPretext(), lambda batch: {"loss": batch["image"]})
    with pytest.raises(ValueError, match=r"test_step returned 'loss' of the shape \(1, 3, "):
        trainer.test(maps, ToyData())
