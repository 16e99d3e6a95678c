import torch

from tests.callbacks.fakes import ToyCAM, ToyData, trainer_in
from wsss_zoo.callbacks.writers.run_identity import (
    checkpoint_hash,
    config_hash,
    evaluation_settings,
)
from wsss_zoo.modules import Evaluation


def test_same_settings_give_the_same_hash(tmp_path):
    first = config_hash(trainer_in(tmp_path / "a"), ToyCAM(), ToyData())
    assert config_hash(trainer_in(tmp_path / "b"), ToyCAM(weight=2.0), ToyData()) == first
    assert len(first) == 64


def test_what_decides_predictions_changes_the_hash(tmp_path):
    class Other(ToyCAM):
        pass

    trainer, data = trainer_in(tmp_path), ToyData()
    evaluated = ToyCAM()
    evaluated.evaluation = type("Evaluation", (), {})()
    evaluated.evaluation.flip = True
    hashes = [
        config_hash(trainer, ToyCAM(), data),
        config_hash(trainer, ToyCAM(name="other"), data),
        config_hash(trainer, Other(), data),
        config_hash(trainer, evaluated, data),
        config_hash(trainer, ToyCAM(), ToyData(data.ids[::-1])),
        config_hash(trainer_in(tmp_path, precision="bf16-mixed"), ToyCAM(), data),
    ]
    assert len(set(hashes)) == len(hashes)


def test_hyper_parameters_of_lightnings_own_do_not_count(tmp_path):
    method = ToyCAM()
    before = config_hash(trainer_in(tmp_path), method, ToyData())
    method.hparams["_instantiator"] = "pytorch_lightning.cli.instantiate_module"
    assert config_hash(trainer_in(tmp_path), method, ToyData()) == before


def test_weights_stand_in_for_a_checkpoint(tmp_path):
    trainer = trainer_in(tmp_path)
    first = checkpoint_hash(trainer, ToyCAM())
    assert checkpoint_hash(trainer, ToyCAM()) == first
    assert checkpoint_hash(trainer, ToyCAM(weight=1.0 + 1e-6)) != first
    half = ToyCAM()
    half.scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.bfloat16))
    assert checkpoint_hash(trainer, half) != first


def test_checkpoint_that_is_no_local_file(tmp_path):
    trainer = trainer_in(tmp_path)
    trainer.ckpt_path = "s3://bucket/model.ckpt"
    first = checkpoint_hash(trainer, ToyCAM())
    assert checkpoint_hash(trainer, ToyCAM(weight=2.0)) == first
    trainer.ckpt_path = "s3://bucket/other.ckpt"
    assert checkpoint_hash(trainer, ToyCAM()) != first


def test_settings_of_earlier_versions_are_those_of_today():
    method = ToyCAM()
    method.evaluation = Evaluation(flip=True)
    assert evaluation_settings(method) == {
        "window": None,
        "window_stride": 2 / 3,
        "scales": [1.0],
        "flip": True,
        "crf": False,
        "last_window": "shift",
        "gate_by_tags": False,
    }
    method.evaluation = Evaluation(par=True)
    assert evaluation_settings(method)["par"] is True
