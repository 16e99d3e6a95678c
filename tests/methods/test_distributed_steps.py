"""Gradients of two processes against those of one process with the batches of both."""

import pytest
import torch
from pytorch_lightning import Callback

from tests.methods.zoo import CASES, make_data, make_method, quick
from wsss_zoo import CoAttention
from wsss_zoo.functional.losses import pair_points
from wsss_zoo.modules import grad_cam_branch

STEPS, BATCH = 2, 4
# By seed 4 the first images of the two processes have unlike numbers of classes; by seed 0 both
# processes have an image with a class that its partner lacks, which CoAttention asks each of them.
# What a process draws for itself is switched off: where images of its batch are mixed with each
# other, and what is dropped without being dropout (which eval mode has off).
OPTIONS = {
    "FixMatch": {"cutmix_prob": 0.0},
    "UniMatch": {"cutmix_prob": 0.0, "feature_dropout": 0.0},
    "UniMatchV2": {"cutmix_prob": 0.0, "intact_share": 1.0},
    "CPS": {"cutmix": False},
    # From the start, so that the first step has something to follow.
    "TemporalEnsembling": {"warm_fill": True},
    # Less to compute.
    "CoAttention": {"convs": 0},
}
# These compute with float32 on the way.
SINGLE = {"GATCorrector", "PseudoSeg", "TemporalEnsembling"}
# The first layer gets queries of 0, so its self-attention has no gradient in the first step.
IDLE = "model.decoder.layers.0."
TOLERANCE = {"rtol": 1e-4, "atol": 1e-7}

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class Steps(Callback):
    """Writes down what each process had and made of it in each step."""

    def __init__(self, path):
        self.path, self.steps = path, []

    def on_after_backward(self, trainer, method):
        trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
        gradients = {name: p.grad.clone() for name, p in trained.items()}
        self.steps.append({"gradients": gradients})

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        half = batch.get("unlabeled", batch)
        self.steps[-1] |= {"loss": outputs["loss"], "ids": half["image_id"]}

    def on_train_end(self, trainer, method):
        torch.save(self.steps, f"{self.path}_{trainer.global_rank}")


def fit(case, trainer, folder, name, **devices):
    torch.manual_seed(0)
    kind = CASES[case][0]
    method = make_method(case, **OPTIONS.get(kind, {}))
    double = kind not in SINGLE
    # BatchNorm has its running statistics, as SyncBatchNorm would need a GPU.
    method = (method.double() if double else method).eval()
    ranks = devices.get("devices", 1)
    seed = 0 if kind == "CoAttention" else 4
    data = make_data(case, folder, batch_size=BATCH // ranks, seed=seed)
    options = {"max_steps": STEPS, "limit_val_batches": 0, **devices}
    precision = "64-true" if double else "32-true"
    fit = trainer(callbacks=[Steps(folder / name)], precision=precision, **options)
    fit.fit(method, datamodule=data)
    return [torch.load(folder / f"{name}_{rank}", weights_only=True) for rank in range(ranks)]


@pytest.fixture
def without_own_statistics(monkeypatch):
    """What else differs by process by design."""
    # The refinement of PseudoSeg normalises as BatchNorm does, in eval mode too.
    fixed = torch.tensor(1.0), torch.tensor(0.0)
    monkeypatch.setattr(grad_cam_branch.torch, "var_mean", lambda *_, **__: fixed)
    # Which class and pixels SimFormer compares is drawn.
    monkeypatch.setattr(pair_points.torch, "rand", lambda *size, **_: torch.zeros(*size))
    # From this epoch on the released code of CoAttention has its contrast.
    monkeypatch.setattr(CoAttention, "current_epoch", 2)


# One of each base class: the others share its sums over processes.
_FORMS = (
    "Supervised",
    "CAM",
    "CoAttention",
    "MeanTeacher",
    "FixMatch",
    "SimFormer",
    "GATCorrector",
)


@pytest.mark.parametrize("case", quick(CASES, [*_FORMS, "Sparse", "CPC"]))
def test_two_processes_have_the_gradients_of_one(case, trainer, tmp_path, without_own_statistics):
    [one] = fit(case, trainer, tmp_path, "one")
    ranks = fit(case, trainer, tmp_path, "two", devices=2, strategy="ddp_fork")
    assert len(one) == STEPS
    for number, (step, first, second) in enumerate(zip(one, *ranks, strict=True)):
        # Each image was on one process.
        assert sorted(first["ids"] + second["ids"]) == sorted(step["ids"])
        assert not set(first["ids"]) & set(second["ids"])
        loss = (first["loss"] + second["loss"]) / 2
        torch.testing.assert_close(loss, step["loss"], **TOLERANCE)
        idle = {name for name, gradient in step["gradients"].items() if not gradient.any()}
        assert number == 0 or not idle
        assert all(name.startswith(IDLE) for name in idle)
        for rank in (first, second):
            torch.testing.assert_close(rank["gradients"], step["gradients"], **TOLERANCE)
