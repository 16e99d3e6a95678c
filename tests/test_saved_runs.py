"""What an earlier version has saved is still what it was: configurations, checkpoints, options."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.methods.zoo import KINDS, make_method, quick
from tests.saved_runs import FOLDER, shape_of, unpack
from wsss_zoo.cli import main

EXPECTED = json.loads((FOLDER / "expected.json").read_text())
METHODS = json.loads((FOLDER / "methods.json").read_text())

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"),
]


NEW = {
    "freeze_backbone": False,
    "grad_checkpointing": False,
    "layer_decay": 1.0,
    "pooling": "mean",
}


def test_every_method_has_a_saved_run():
    # The graphs that GATCorrector reads are not part of a run.
    named = {saved["method"] for saved in METHODS.values()} - {"GATCorrector"}
    assert named == {case.partition("_")[0] for case in EXPECTED}


@pytest.mark.parametrize("case", METHODS)
def test_options_and_weights_of_every_method_are_those_of_before(case):
    saved, method = METHODS[case], make_method(case)
    assert type(method).__name__ == saved["method"]
    options = json.loads(json.dumps(dict(method.hparams)))
    new = {name: options.pop(name) for name in options.keys() - saved["hyper_parameters"].keys()}
    assert options == saved["hyper_parameters"]
    # What came later does nothing unless it is given.
    assert new.items() <= NEW.items()
    assert shape_of(method) == saved["weights"]


@pytest.mark.parametrize("case", quick(EXPECTED, KINDS))
def test_saved_run_validates_and_predicts_the_same(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    run = ["--config", str(FOLDER / f"{case}.yaml"), "--ckpt_path", str(unpack(case, tmp_path))]
    run += ["--trainer.limit_val_batches", "null"]
    assert main(["validate", *run, "--trainer.default_root_dir", "val"]) == 0
    with (tmp_path / "val/metrics.csv").open() as file:
        values = {key: float(value) for row in csv.DictReader(file) for key, value in row.items()}
    # Other processors round in other places: a pixel may change its class.
    assert {key: values[key] for key in EXPECTED[case]} == pytest.approx(EXPECTED[case], abs=2e-3)
    labels = np.load(FOLDER / "labels.npz")
    wanted = [name for name in labels if name.startswith(f"{case}/")]
    assert len(wanted) == (0 if case == "CPC" else 2)
    if wanted:
        assert main(["predict", *run, "--trainer.default_root_dir", "predicted"]) == 0
    for name in wanted:
        image_id = name.partition("/")[2]
        predicted = np.array(Image.open(tmp_path / f"predicted/pseudo_labels/{image_id}.png"))
        assert (predicted != labels[name]).mean() < 2e-3


def test_options_that_a_method_has_fixed_since_are_left_out(tmp_path, capsys):
    """An earlier version saved them, and nobody can give them any more."""
    text = (FOLDER / "PseudoSeg.yaml").read_text()
    assert text.count("\n  init_args:\n") > 1
    path = tmp_path / "config.yaml"
    place = text.index("\n  init_args:\n", text.index("\nmodel:")) + len("\n  init_args:\n")
    path.write_text(f"{text[:place]}    loss: ohem\n    ohem_thresh: 0.7\n{text[place:]}")
    with pytest.raises(SystemExit, match="0"):
        main(["validate", "--config", str(path), "--print_config"])
    printed = capsys.readouterr().out
    assert "PseudoSeg" in printed
    assert "ohem" not in printed
    # Written by hand, they are an error as on the command line.
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(SystemExit):
        main(["validate", "--config", str(path), "--print_config"])
    assert "'loss' is not accepted" in capsys.readouterr().err
