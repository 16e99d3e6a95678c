"""Training steps on the device: none waits for it, and compiled ones come to the same."""

import pytest
import torch
from pytorch_lightning import Callback

from tests.methods.host_work import put_host_work_aside
from tests.methods.short_fits import short_fit
from tests.methods.zoo import STEPS, make_data, make_method
from tests.trainers import Forever
from wsss_zoo.callbacks import CompiledTraining, FiniteLoss, KeptClasses

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have a length:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]


class NoWait(Callback):
    """Raises where the host waits for the device, from the start of a batch to its end.

    The first step is let go: libraries set themselves up in it.
    """

    def __init__(self, device):
        self.cuda, self.watched = device.type == "cuda", 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step:
            self.watched += 1
            self._set("error")

    def on_train_batch_end(self, *_):
        self._set("default")

    def on_exception(self, *_):
        self._set("default")

    def _set(self, mode):
        if self.cuda:
            torch.cuda.set_sync_debug_mode(mode)


@pytest.fixture(scope="module")
def known_batches():
    return {}


@pytest.mark.parametrize("case", STEPS)
def test_no_step_waits(case, device, trainer, tmp_path, known_batches, monkeypatch):
    """Batch start, forward, loss, backward, clipping, optimiser, schedule, average, kept losses."""
    data = make_data(case, tmp_path)
    kind = data.supervision, getattr(data, "strong_views", 0)
    if kind not in known_batches:
        known_batches[kind] = short_fit(case, trainer, tmp_path).batches[0]
    if device.type == "cuda":  # else there is nothing to wait for
        put_host_work_aside(monkeypatch)
    data.train_dataloader = lambda: Forever(known_batches[kind])
    method, guard = make_method(case), NoWait(device)
    run = trainer(
        max_steps=3,
        limit_val_batches=0,
        log_every_n_steps=100,
        # Some clip where the trainer does not.
        gradient_clip_val=None if "grad_clip" in method.hparams else 1.0,
        callbacks=[FiniteLoss(), KeptClasses(), guard],
    )
    run.fit(method, data)
    assert guard.watched == 2
    assert {value.device for value in method.state_dict().values()} == {device}


def test_a_wait_is_caught(device):
    if device.type == "cpu":
        pytest.skip("nothing waits on a CPU")
    value = torch.ones(2, device=device)
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchronizing"):
        value.sum().item()


def without_dropout(method):
    """Inductor draws other masks."""
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize("case", ["Supervised", "UniMatchV2 ViT", "MaskFormer"])
def test_compiled_steps_come_to_the_same(case, backend, trainer, tmp_path):
    """A CNN with DeepLabV3+, a ViT with DPT, a mask transformer."""
    torch._dynamo.reset()
    options = {"max_steps": 3}
    plain = short_fit(case, trainer, tmp_path, without_dropout, **options)
    callbacks = [CompiledTraining(backend)]
    compiled = short_fit(case, trainer, tmp_path, without_dropout, callbacks, **options)
    torch.testing.assert_close(compiled.losses, plain.losses, rtol=0.02, atol=0)
    assert compiled.method.state_dict().keys() == plain.method.state_dict().keys()
