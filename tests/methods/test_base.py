"""What every method inherits: parameter groups, schedule, seeds, resume, start weights."""

import warnings

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from torch.nn.modules.batchnorm import _BatchNorm

from wsss_zoo.methods import CAM, FixMatch, Supervised

TINY = "test_efficientnet"

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)
METHODS = {"Supervised": Supervised, "CAM": CAM}


def make(name, **options):
    torch.manual_seed(0)
    return METHODS[name](4, **({"backbone": TINY} | options))


class Rates(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def run(method, loader, trainer, steps=3, **options):
    fit = trainer(max_steps=steps, **options)
    fit.fit(method, loader(steps))
    return fit


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_groups_and_polynomial_schedule(name, optimizer, loader, trainer):
    rates = Rates()
    method = make(name, lr=0.01, head_lr_mult=5, weight_decay=0.3, optimizer=optimizer)
    fit = run(method, loader, trainer, callbacks=[rates])
    expected = [[0.01 * f, 0.05 * f] for f in ((1 - t / 3) ** 0.9 for t in range(3))]
    assert rates.seen == [pytest.approx(row) for row in expected]
    backbone, head = fit.optimizers[0].param_groups
    assert (backbone["name"], head["name"]) == ("backbone", "head")
    assert {backbone["weight_decay"], head["weight_decay"]} == {0.3}
    assert (fit.optimizers[0].param_groups[0].get("momentum", 0.9)) == 0.9
    names = {id(p): n for n, p in method.named_parameters()}
    inside = {names[id(p)] for p in backbone["params"]}
    assert inside == {n for n in names.values() if "backbone." in n}
    assert inside | {names[id(p)] for p in head["params"]} == set(names.values())


def test_frozen_parameters_are_in_no_group():
    method = make("CAM", frozen_stages=5)
    (group,) = method.parameter_groups()
    assert [id(p) for p in group["params"]] == [id(method.classifier.weight)]


def test_unknown_optimizer(loader, trainer):
    message = "optimizer is 'lion'; give 'sgd', 'nesterov', 'adam' or 'adamw'"
    with pytest.raises(ValueError, match=message):
        run(make("CAM", optimizer="lion"), loader, trainer)


def test_schedule_without_end(loader, trainer):
    with pytest.raises(ValueError, match=r"set trainer\.max_steps"):
        trainer(max_epochs=-1).fit(make("CAM"), loader())


def test_hyper_parameters_are_the_arguments_of_the_method():
    assert make("Supervised", lr=0.5).hparams["lr"] == 0.5
    assert make("CAM").hparams["scales"] == (1.0, 0.5, 1.5, 2.0)
    for name in METHODS:
        shared = {
            *("backbone", "weights", "output_stride", "freeze_backbone_bn"),
            *("lr", "head_lr_mult", "weight_decay", "optimizer", "init_from"),
        }
        assert shared <= set(make(name).hparams)


def test_image_mean_is_the_backbones():
    assert make("CAM", backbone="test_resnet").image_mean == (0.5, 0.5, 0.5)
    assert make("Supervised").image_mean == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.parametrize("name", METHODS)
def test_frozen_backbone_statistics_survive_fit_and_its_affine_parameters_learn(
    name, loader, trainer
):
    method = make(name, freeze_backbone_bn=True, lr=0.1)
    norms = {
        n: m for n, m in method.named_modules() if isinstance(m, _BatchNorm) and "backbone." in n
    }
    state = {n: v.clone() for n, v in method.state_dict().items()}
    fit = trainer(max_steps=2)
    # Validation between the steps, so that the modes are switched there and back.
    with warnings.catch_warnings(record=True) as caught:
        fit.fit(method, loader(2), loader(batch_size=1))
    assert not any("eval mode" in str(warning.message) for warning in caught)
    after = method.state_dict()
    for norm in norms:
        for key in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(after[f"{norm}.{key}"], state[f"{norm}.{key}"])
    assert any(not torch.equal(after[f"{n}.weight"], state[f"{n}.weight"]) for n in norms)


class Killed(Callback):
    """Ends a run after some batches and keeps a checkpoint, as a kill and `save_last` would."""

    def __init__(self, after, path):
        self.after, self.path = after, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.after:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True
            trainer.limit_val_batches = 0


@pytest.mark.parametrize("name", METHODS)
# Within an epoch, and at its end.
@pytest.mark.parametrize(("killed_after", "accumulate"), [(2, 2), (3, 1)])
def test_resumes_to_the_same_weights(name, killed_after, accumulate, loader, trainer, tmp_path):
    options = {"max_steps": 6, "accumulate_grad_batches": accumulate}

    def batches():
        return loader(3 * accumulate)

    whole = make(name, lr=0.01)
    trainer(**options).fit(whole, batches())
    path = tmp_path / "last.ckpt"
    callbacks = [Killed(killed_after, path)]
    trainer(**options, callbacks=callbacks).fit(make(name, lr=0.01), batches())
    torch.manual_seed(123)
    resumed = METHODS[name](4, TINY, lr=0.01)
    fit = trainer(**options)
    fit.fit(resumed, batches(), ckpt_path=path, weights_only=True)
    assert fit.global_step == 6
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_seed_decides_over_the_random_draws(loader, trainer, monkeypatch):
    def weights(seed):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        method = make("Supervised", lr=0.01)
        run(method, loader, trainer)
        return method.network.head.weight

    assert torch.equal(weights("1"), weights("1"))
    assert not torch.equal(weights("1"), weights("2"))


def test_micro_batches_of_one_step_draw_differently(loader, trainer):
    draws = []

    class Draw(Callback):
        def on_train_batch_end(self, *_):
            draws.append(torch.initial_seed())

    run(make("CAM"), loader, trainer, steps=2, accumulate_grad_batches=2, callbacks=[Draw()])
    assert len(set(draws)) == len(draws) > 1


def test_checkpoint_needs_no_other_file(loader, trainer, tmp_path):
    source = make("CAM")
    torch.save(source.backbone.model.state_dict(), tmp_path / "weights.pth")
    method = make("CAM", weights=str(tmp_path / "weights.pth"))
    run(method, loader, trainer).save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "weights.pth").unlink()
    again = CAM.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.hparams["weights"] is None
    assert torch.equal(again.classifier.weight, method.classifier.weight)


@pytest.mark.parametrize("name", METHODS)
def test_starts_from_a_checkpoint(name, loader, trainer, tmp_path):
    first = make(name, lr=0.01)
    path = tmp_path / "last.ckpt"
    run(first, loader, trainer).save_checkpoint(path)
    second = METHODS[name](4, TINY, init_from=str(path))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])


def test_start_from_another_network_is_refused(loader, trainer, tmp_path):
    path = tmp_path / "last.ckpt"
    run(make("CAM"), loader, trainer).save_checkpoint(path)
    with pytest.raises(ValueError, match=r"last\.ckpt is of another network: it lacks"):
        make("Supervised", init_from=str(path))
    with pytest.raises(ValueError, match=r"classifier\.weight has the shape \(3, 64\)"):
        CAM(6, TINY, init_from=str(path))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt does not exist"):
        make("CAM", init_from=str(tmp_path / "nowhere.ckpt"))


class Data(LightningDataModule):
    def __init__(self, loader, **attributes):
        super().__init__()
        self.loader = loader
        for name, value in attributes.items():
            setattr(self, name, value)

    def train_dataloader(self):
        return self.loader

    predict_dataloader = train_dataloader


def test_data_module_without_background_or_with_other_classes(loader, trainer):
    fit: Trainer = trainer(max_steps=1)
    gated = FixMatch(4, TINY, gate_by_tags=True)
    with pytest.raises(
        ValueError, match="gate_by_tags needs a background class, but Data has none"
    ):
        fit.fit(gated, Data(loader(), background=False, num_classes=4))
    with pytest.raises(ValueError, match="CAM needs a background class, but Data has none; take"):
        fit.fit(make("CAM"), Data(loader(), background=False, num_classes=4))
    with pytest.raises(ValueError, match="CAM was made for num_classes 4, but Data has 7"):
        fit.predict(make("CAM"), Data(loader(), background=True, num_classes=7))
    fit.fit(make("Supervised"), Data(loader(), background=False, num_classes=4))
