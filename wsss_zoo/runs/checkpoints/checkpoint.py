"""Read a run's checkpoint, and check that it fits method and data."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

from wsss_zoo.arguments.checks import short_name
from wsss_zoo.arguments.given import Setting, given_settings
from wsss_zoo.methods.base import is_start_weights
from wsss_zoo.methods.optimizer import KINDS
from wsss_zoo.modules.checkpoint_classes import check_class_names, saved_class_names
from wsss_zoo.modules.weights import damaged_part
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG, is_config_of


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
    path: str,
    checkpoint: Mapping[str, Any],
    model: LightningModule,
    class_names: list[str],
    background: bool = True,
) -> None:
    """Refuse a checkpoint of another network than the configured ``model``, or of other classes.

    Raises:
        ValueError: If numbers of classes (background included), their names, parameters or shapes
            differ.
    """
    held = checkpoint.get("hyper_parameters", {})
    if held.get("num_classes", len(class_names)) != len(class_names):
        raise ValueError(
            f"checkpoint {path} has {held['num_classes']} classes, the data set has "
            f"{len(class_names)}: {', '.join(class_names)}; give the data set and data.classes "
            "it was trained with, or train a new model from its backbone with model.weights"
        )
    check_class_names(f"checkpoint {path}", saved_class_names(checkpoint), class_names, background)
    shapes = {name: value.shape for name, value in checkpoint["state_dict"].items()}
    if shapes == {name: value.shape for name, value in model.state_dict().items()}:
        return
    # Start weights are not kept in a checkpoint.
    differences = [
        f"{key} is {value!r}, in the checkpoint {held[key]!r}"
        for key, value in model.hparams.items()
        if held.get(key, value) != value and not is_start_weights(key) and key != "_class_path"
    ]
    raise ValueError(
        f"checkpoint {path} holds another network than the command line describes "
        f"({'; '.join(differences) or 'of another version, as the options are the same'}); give "
        f"the options it was trained with: --config {CONFIG} of its run"
    )


def check_resumable(path: str, checkpoint: Mapping[str, Any], model: LightningModule) -> None:
    """Refuse a checkpoint that a training cannot go on from with the options of ``model``.

    Raises:
        ValueError: If it has weights only, its optimiser is of another kind, or the options name
            start weights other than those that its run began with.
    """
    if "optimizer_states" not in checkpoint:
        raise ValueError(
            f"checkpoint {path} has weights only, and no state to resume a run from; give "
            f"{CHECKPOINT} of its run, or start a new run from its weights with model.init_from"
        )
    held, asked = (
        str(options.get("optimizer", ""))
        for options in (checkpoint.get("hyper_parameters", {}), model.hparams)
    )
    if held and asked and KINDS.get(held) != KINDS.get(asked):
        raise ValueError(
            f"checkpoint {path} has the state of {held!r}, and model.optimizer is {asked!r}; leave "
            "out model.optimizer to resume the run, or start a new run from its weights with "
            "model.init_from"
        )
    began_with = read_run_config(Path(path).parent.parent)
    for name, value in model.hparams.items():
        key = f"model.{name}"
        if not is_start_weights(name) or value is None or key not in began_with:
            continue
        if str(began_with[key].value) != str(value):
            raise ValueError(
                f"{key} is {value}, but a resumed run has the weights of its checkpoint {path}; "
                f"leave {key} out, or leave out --ckpt_path to start a new run"
            )


def read_run_config(folder: Path) -> dict[str, Setting]:
    """Read the settings of the fit in a folder by key, such as ``model.lr``; none if it has none.

    See `given_settings`.
    """
    path = folder / CONFIG
    return given_settings(["--config", str(path)]) if is_config_of(path, "fit") else {}
