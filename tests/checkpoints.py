"""Checkpoints as ``wsss-zoo fit`` writes them, without the training."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss_zoo.methods.base import BaseMethod

NAMES = ["background", "cat", "dog"]


def save_checkpoint(
    path: Path, method: BaseMethod, class_names: list[str] | None = None, **changes: Any
) -> str:
    """Save a method under a path; ``changes`` replace hyper-parameters, None drops them."""
    options = {"_class_path": f"wsss_zoo.{type(method).__name__}"} | dict(method.hparams)
    options = {name: value for name, value in (options | changes).items() if value is not None}
    checkpoint = {"state_dict": method.state_dict(), "hyper_parameters": options}
    checkpoint |= {"pytorch-lightning_version": "2.6.0", "global_step": 1, "callbacks": {}}
    if class_names is not None:
        background = class_names[0] == "background"
        checkpoint["Folder"] = {"class_names": class_names, "background": background}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return str(path)


def with_opinions(method: BaseMethod) -> BaseMethod:
    """Make an untrained network tell pixels apart: all classes win somewhere."""
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.2, 0.6)
    return method
