"""Runs that an earlier version of the package made: their checkpoints, made small to be kept.

The archives in `tests/fixtures` hold short runs of ``wsss-zoo fit`` on `Shapes`: the configuration
as it was written, and the checkpoint without the optimiser's state. Of some the weights are the
trained ones in float16. Of the others the checkpoint keeps their names, shapes and types only, and
`fill_by_name` gives them values. ``expected.json`` and ``labels.npz`` hold what ``validate`` and
``predict`` of that version gave for these weights, ``methods.json`` the options and the weights'
names and shapes of every case of `tests.methods.zoo`.
"""

import atexit
import hashlib
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Unpacked until the process ends.
_TEMPORARY = tempfile.TemporaryDirectory()
atexit.register(_TEMPORARY.cleanup)
FOLDER = Path(_TEMPORARY.name)
for _archive in ("saved_runs.zip", "saved_weights.zip"):
    zipfile.ZipFile(Path(__file__).parent / "fixtures" / _archive).extractall(FOLDER)


def fill_by_name(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the same names, shapes and types, each drawn from a seed that is its name."""
    return {name: _drawn(name, value) for name, value in state.items()}


def _drawn(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return torch.ones_like(value)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
    if name.endswith("running_var"):
        return 1 + 0.3 * noise.abs()
    if value.ndim > 1:
        return noise * math.sqrt(2 / max(1, value[0].numel()))
    return noise * 0.1 + float(name.endswith("weight"))


def hollow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the same names, shapes and types that share one number, and so take no room."""
    zeros: dict[torch.dtype, Tensor] = {}
    return {
        name: zeros.setdefault(value.dtype, torch.zeros((), dtype=value.dtype)).expand(value.shape)
        for name, value in state.items()
    }


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16."""
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def is_hollow(state: dict[str, Tensor]) -> bool:
    """Whether a checkpoint's weights are those of `hollow`."""
    return all(value.untyped_storage().nbytes() <= 8 for value in state.values())


def unpack(case: str, folder: Path) -> Path:
    """Write the checkpoint of a case, whole, into a folder; gives its path."""
    checkpoint: dict[str, Any] = torch.load(FOLDER / f"{case}.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    if is_hollow(state):
        state = fill_by_name(state)
    checkpoint["state_dict"] = {
        name: value.float() if value.dtype == torch.half else value for name, value in state.items()
    }
    path = folder / "last.ckpt"
    torch.save(checkpoint, path)
    return path


def shape_of(method: nn.Module) -> str:
    """Hash of names, shapes and types of all weights and buffers of a method's checkpoint."""
    lines = [f"{name} {list(v.shape)} {v.dtype}\n" for name, v in method.state_dict().items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]
