"""Read a run's checkpoint, and check that it fits method and data."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

from wsss_zoo.arguments.checks import short_name
from wsss_zoo.modules.weights import damaged_part
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG


def read_checkpoint(path: str, model_class_path: str | None = None) -> dict[str, Any]:
    """Read a checkpoint as data, never as code; tensors are memory-mapped.

    Without ``model_class_path`` it may be of any method.

    Raises:
        ValueError: If the file is missing, unreadable, no Lightning checkpoint or of another
            method.
    """
    if not Path(path).is_file():
        raise ValueError(f"checkpoint {path}: there is no such file; runs write {CHECKPOINT}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no checkpoint, or a damaged one; give another")
    if (damaged := damaged_part(path)) is not None:
        raise ValueError(
            f"checkpoint {path} is damaged: the checksum of {damaged} does not fit; give another "
            "checkpoint, or delete it and train again"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch lets KeyError, IndexError and more through
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it is damaged, or "
            "holds pickled objects, which are never unpickled; give one that 'wsss-zoo fit' wrote"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(
            f"{path} is no checkpoint of a run; give bare weights as model.weights or "
            "model.init_from"
        )
    options = checkpoint.get("hyper_parameters", {})
    if not isinstance(options, Mapping):
        raise ValueError(f"checkpoint {path} has no options of a method; give another")
    held = short_name(str(options.get("_class_path", "")))
    if held and model_class_path is not None and held != short_name(model_class_path):
        raise ValueError(
            f"checkpoint {path} holds {held}, model asks for {short_name(model_class_path)}"
        )
    return checkpoint


def data_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Find what the data module left in a checkpoint; {} if nothing."""
    # It stands under the name of the module's class.
    states = (v for v in checkpoint.values() if isinstance(v, dict) and "class_names" in v)
    return next(states, {})


def check_checkpoint_fits(
    path: str, checkpoint: Mapping[str, Any], model: LightningModule, class_names: list[str]
) -> None:
    """Refuse a checkpoint of another network than the configured ``model``.

    Raises:
        ValueError: If numbers of classes (background included), parameters or shapes differ.
    """
    held = checkpoint.get("hyper_parameters", {})
    if held.get("num_classes", len(class_names)) != len(class_names):
        raise ValueError(
            f"checkpoint {path} has {held['num_classes']} classes, the data set has "
            f"{len(class_names)}: {', '.join(class_names)}; give the data set and data.classes "
            "it was trained with, or train a new model from it with model.init_from"
        )
    shapes = {name: value.shape for name, value in checkpoint["state_dict"].items()}
    if shapes == {name: value.shape for name, value in model.state_dict().items()}:
        return
    # Start weights are not kept in a checkpoint.
    differences = [
        f"{key} is {value!r}, in the checkpoint {held[key]!r}"
        for key, value in model.hparams.items()
        if key in held and held[key] != value and key not in {"weights", "init_from"}
    ]
    raise ValueError(
        f"checkpoint {path} holds another network than the command line describes "
        f"({'; '.join(differences) or 'of another version, as the options are the same'}); give "
        f"the options it was trained with: --config {CONFIG} of its run"
    )
