"""Training steps neither mix devices nor wait for a GPU, on the fake one that needs no hardware."""

from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.methods.host_work import HOST_WORK, put_host_work_aside
from tests.methods.short_fits import short_fit
from tests.methods.zoo import KINDS, STEPS, make_data, make_method, quick
from tests.trainers import Forever
from wsss_zoo.callbacks.training.finite_loss import FiniteLoss
from wsss_zoo.functional import class_targets, solve_assignment

CUDA = torch.device("cuda", 0)

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning",
    "ignore:.*does not have a length:UserWarning",
)


class HostSyncError(RuntimeError):
    """The host waits for the device."""


class NoHostSync(TorchDispatchMode):
    """Raises where a copy between host and device makes the host wait.

    FakeTensorMode itself raises where a value or a size is asked for, and where devices are mixed.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given, made = (
            [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
            for values in ((args, kwargs), result)
        )
        from_device, to_device = (any(x.is_cuda for x in values) for values in (given, made))
        if from_device and not all(x.is_cuda for x in made):
            raise HostSyncError(f"{func}: device to host")
        copy = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        # Other operations take scalars of the host as arguments of the kernel.
        waits = any(not x.is_cuda and (x.ndim or copy) for x in given)
        # A copy from ordinary memory waits for all that the device has to do, unless told not to.
        if to_device and waits and not (copy and kwargs.get("non_blocking")):
            raise HostSyncError(f"{func}: host to device")
        return result


class FakeGPU(SingleDeviceStrategy):
    """Trains on the fake GPU."""

    def __init__(self):
        super().__init__(CUDA, accelerator=_NoCheck())

    def model_to_device(self):
        # Module.to cannot move fake parameters.
        for module in self.model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                moved = parameter.detach().to(CUDA)
                module.register_parameter(name, torch.nn.Parameter(moved, parameter.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = buffer.to(CUDA)
        self.model._device = CUDA

    def teardown(self):
        pass


class _NoCheck(CPUAccelerator):
    def setup_device(self, device):
        pass


class StepDoneError(Exception):
    """Ends a training before anything is looked at."""


class Watched(Callback):
    """From the start of a batch to its end nothing may wait; then it is enough."""

    def __init__(self):
        self.guard = NoHostSync()

    def on_train_batch_start(self, *_):
        self.guard.__enter__()

    def on_train_batch_end(self, *_):
        raise StepDoneError

    def on_exception(self, *_):
        self.guard.__exit__(None, None, None)


def fake_backward(method, loss):
    """There is none without a GPU."""
    assert loss.device == CUDA
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    for parameter in method.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


def fake_log(name, value, **_):
    """Lightning's own copies a number to the device."""
    if not isinstance(value, torch.Tensor) or not value.is_cuda or value.numel() != 1:
        raise HostSyncError(f"{name} is logged as {value!r}; give a scalar of the device")


@pytest.fixture(scope="module")
def known_batches():
    return {}


@pytest.fixture
def real_batch(known_batches, trainer, tmp_path):
    """Gives the first batch of a case as the data module makes it, each regime's once."""

    def make(case):
        data = make_data(case, tmp_path)
        kind = data.supervision, getattr(data, "strong_views", 0)
        if kind not in known_batches:
            known_batches[kind] = short_fit(case, trainer, tmp_path).batches[0]
        return known_batches[kind]

    return make


def is_vit(case):
    return STEPS[case][1].get("backbone") == "test_vit"


def fake(method, mode):
    """Put every tensor of a method into the fake mode."""
    for module in method.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            made = torch.nn.Parameter(mode.from_tensor(value.detach()), value.requires_grad)
            module.register_parameter(name, made)
        for name, value in list(module.named_buffers(recurse=False)):
            module._buffers[name] = mode.from_tensor(value)
    return method


def train_on_fake_gpu(case, trainer, folder, batch, optimizer="sgd"):
    data = make_data(case, folder)
    data.train_dataloader = lambda: Forever(batch)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    # timm asks for values while it makes a ViT.
    made = fake(make_method(case, optimizer=optimizer), mode) if is_vit(case) else None
    with mode:
        method = made or make_method(case, optimizer=optimizer)
        method.backward = partial(fake_backward, method)
        method.log = fake_log
        method.log_dict = lambda values, **_: [fake_log(*item) for item in values.items()]
        engine = trainer(
            accelerator="auto",
            devices="auto",
            strategy=FakeGPU(),
            max_steps=2,
            limit_val_batches=0,
            # Some clip where the trainer does not.
            gradient_clip_val=None if "grad_clip" in method.hparams else 1.0,
            callbacks=[FiniteLoss(), Watched()],
        )
        with pytest.raises(StepDoneError):
            engine.fit(method, data)
    assert engine.global_step == 1
    return method


@pytest.mark.parametrize("case", quick(STEPS, KINDS))
def test_whole_steps_never_wait(case, trainer, tmp_path, real_batch, monkeypatch):
    """Batch start, forward, loss, clipping, optimiser, schedule, average, kept losses."""
    batch = real_batch(case)
    put_host_work_aside(monkeypatch)
    method = train_on_fake_gpu(case, trainer, tmp_path, batch)
    assert {value.device for value in method.state_dict().values()} == {CUDA}


def test_default_optimizer_never_waits(trainer, tmp_path, real_batch):
    train_on_fake_gpu("CAM", trainer, tmp_path, real_batch("CAM"), optimizer="adamw")


WAITS = {
    ".cpu()": lambda x: x.cpu(),
    '.to("cpu")': lambda x: x.to("cpu"),
    "copy_ to the host": lambda x: torch.zeros(2, 2).copy_(x),
    ".tolist()": lambda x: x.tolist(),
    ".numpy()": lambda x: x.cpu().numpy(),
    ".item()": lambda x: x.sum().item(),
    "bool()": lambda x: bool(x.any()),
    "nonzero": lambda x: x.nonzero(),
    "selection": lambda x: x[x > 0],
    "devices mixed": lambda x: x + torch.ones(2, 2),
    "number to the device": lambda x: torch.tensor(1.0, device=x.device),
    "list to the device": lambda x: x.new_tensor([1.0, 2.0]),
    "index of the host": lambda x: x[torch.tensor([0, 1])],
    "logged number": lambda x: fake_log("train/loss", 1.0),
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_net_catches(wait):
    with FakeTensorMode():
        value = torch.ones(2, 2, device=CUDA)
        with pytest.raises((HostSyncError, RuntimeError)), NoHostSync():
            WAITS[wait](value)


def test_the_net_lets_pass():
    with FakeTensorMode(), NoHostSync():
        value = torch.ones(2, 2, device=CUDA)
        rows = torch.tensor([0, 1]).to(CUDA, non_blocking=True)
        assert (torch.where(value > 0, value, 0.5)[rows] * torch.tensor(2.0)).is_cuda
        assert torch.full((), 3.0, device=CUDA).is_cuda


@pytest.mark.parametrize("left", [class_targets, solve_assignment])
def test_host_work_would_be_caught(left, trainer, tmp_path, real_batch, monkeypatch):
    """That the list is needed, and that a step of the real loop is watched."""
    batch = real_batch("SimFormer")
    put_host_work_aside(monkeypatch)
    for module, function, _ in HOST_WORK:
        if function is left:
            monkeypatch.setattr(module, function.__name__, function)
    with pytest.raises(HostSyncError, match="device to host"):
        train_on_fake_gpu("SimFormer", trainer, tmp_path, batch)


def test_host_work_is_listed_for_users():
    text = Path("docs/hardware.md").read_text()
    for _, function, _ in HOST_WORK:
        assert f"`{function.__name__}`" in text
