"""The check on a card: ``make test-gpu``, or without one ``pytest tests/gpu --device cpu``.

Without CUDA every test is skipped by name. ``--device cpu`` runs the same code on the CPU, so that
no line of it waits for a card to be tried; guards that only CUDA has are off, and sizes are small.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from tests.measurements import MACHINE
from tests.trainers import quiet_trainer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, and skip them where there is no card."""
    own = [item for item in items if HERE in item.path.parents]
    lacking = wanted(config) == "cuda" and not torch.cuda.is_available()
    for item in own:
        item.add_marker(pytest.mark.gpu)
        if lacking:
            reason = "torch sees no CUDA card; --device cpu tries the same code without one"
            item.add_marker(pytest.mark.skip(reason=reason))


def wanted(config: pytest.Config) -> str:
    """The device asked for."""
    return str(config.getoption("--device"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where everything runs."""
    kind = wanted(request.config)
    name = torch.cuda.get_device_name() if kind == "cuda" else None
    request.config.stash[MACHINE] |= {"gpu": name, "cuda": torch.version.cuda if name else None}
    return torch.device(kind, 0) if kind == "cuda" else torch.device(kind)


@pytest.fixture(autouse=True)
def _same_arithmetic(device: torch.device) -> Iterator[None]:
    """Float32 is float32, and no test's peak of memory is another's."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield
    torch.backends.cudnn.allow_tf32 = before
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def place(device: torch.device) -> dict[str, Any]:
    """Options of the Trainer: this device alone."""
    return {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}


@pytest.fixture
def trainer(place: dict[str, Any], tmp_path: Path) -> Callable[..., Trainer]:
    """A quiet Trainer on the device."""

    return functools.partial(quiet_trainer, tmp_path, **place)


@pytest.fixture
def backend(device: torch.device) -> str:
    """Backend of torch.compile: that of a card needs Triton, that of a CPU a C++ compiler."""
    return "inductor" if device.type == "cuda" else "aot_eager"
