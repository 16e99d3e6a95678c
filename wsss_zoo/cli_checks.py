"""What the command line refuses, each with a message that says what to do instead."""

import difflib
import inspect
import pkgutil
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule

from wsss_zoo.arguments import Setting
from wsss_zoo.modules.weights import damaged_part


def subclasses(base: type) -> dict[str, type]:
    """Classes that a user can name where ``base`` is asked for, by their names, sorted."""
    found: dict[str, type] = {}
    child: type
    for child in base.__subclasses__():
        own: dict[str, type] = {} if inspect.isabstract(child) else {child.__name__: child}
        found |= own | subclasses(child)
    return {name: found[name] for name in sorted(found)}


def loaded_class(base: type, class_path: str) -> type[Any] | None:
    """The class that a file names, if it is loaded already: nothing is imported for it.

    Args:
        base: Class that it must derive from.
        class_path: Name of one of the package's, or import path.

    Returns:
        The class; None if there is no such class derived from ``base``.
    """
    known = subclasses(base)
    if "." not in class_path or class_path.startswith("wsss_zoo."):
        return known.get(short_name(class_path))
    paths = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in known.values()}
    return paths.get(class_path)


def short_name(class_path: str) -> str:
    """Last part of a dotted class path.

    >>> short_name("wsss_zoo.methods.cam.CAM")
    'CAM'
    """
    return class_path.rsplit(".", 1)[-1]


def short_message(message: str) -> str:
    r"""Cut jsonargparse's account of a bad module down to what is wrong with it.

    >>> short_message(
    ...     "Parser key 'model':\n Subtypes: [BaseMethod, NoneType]\n Errors:\n"
    ...     " - Problem with given class_path 'wsss_zoo.CAM':\n  Option 'lrr' is not accepted\n"
    ...     " - Expected a NoneType"
    ... )
    "CAM: Option 'lrr' is not accepted"
    """
    pattern = r"Problem with given class_path '([^']+)':\s+(.+?)(\n\s*- |\n\s*Given value|$)"
    match = re.search(pattern, message, re.DOTALL)
    if match is None and 'Parser key "trainer.logger"' in message:
        return (
            "trainer.logger: that is no logger; give --trainer.logger WandbLogger and after it its "
            "options (--trainer.logger.project P) and further loggers (--trainer.logger+ CSVLogger)"
        )
    if match is None:
        return message
    return f"{match[1].removeprefix('wsss_zoo.')}: {' '.join(match[2].split())}"


def supervision_of(class_path: str) -> str:
    """Regime of a method, from its class path."""
    return str(pkgutil.resolve_name(class_path).supervision)


def check_name(key: str, given: Setting | None, base: type) -> None:
    """Refuse a method or data set that does not exist.

    Args:
        key: ``model`` or ``data``.
        given: What the user gave for it; None is refused too.
        base: Class that the named one must derive from.

    Raises:
        ValueError: If a name without dots is not that of a subclass.
    """
    known = subclasses(base)
    kind = {"model": "method", "data": "data set"}[key]
    there_are = f"there are: {', '.join(known)}"
    if given is None:
        raise ValueError(f"--{key} is missing: name the {kind}; {there_are}")
    name = str(given.value)
    if name in known or "." in name:
        return
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f" (did you mean {lower[close[0]]}?)" if close else ""
    raise ValueError(
        f"{given.source}: there is no {kind} {name!r}{hint}; {there_are}; a class of your own is "
        "named by its import path, package.module.Class"
    )


def check_supervision(given: Setting | None, model_class_path: str) -> None:
    """Refuse a supervision other than the method's.

    Args:
        given: ``data.supervision`` as the user gave it; None if it was not given.
        model_class_path: Import path of the method.

    Raises:
        ValueError: If the two differ.
    """
    needed = supervision_of(model_class_path)
    if given is not None and given.value != needed:
        raise ValueError(
            f"{given.source}: supervision {given.value!r} is given, but "
            f"{short_name(model_class_path)} learns from {needed!r}; remove it, the method decides"
        )


def read_checkpoint(path: str, model_class_path: str | None = None) -> dict[str, Any]:
    """Read a checkpoint and refuse one of another method.

    Args:
        path: Checkpoint file.
        model_class_path: Import path of the method asked for; None takes any.

    Returns:
        The checkpoint; its tensors are not in memory before they are looked at.

    Raises:
        ValueError: If the file is missing, unreadable, no Lightning checkpoint or of another
            method.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"--ckpt_path {path}: there is no such file; a run has its own in checkpoints/last.ckpt"
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"--ckpt_path {path} is no checkpoint, or a damaged one; give another")
    damaged = damaged_part(path)
    if damaged is not None:
        raise ValueError(
            f"--ckpt_path {path} is damaged: the checksum of {damaged} does not fit; give another "
            "checkpoint, or delete it and train again"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch lets KeyError, IndexError and more through
        raise ValueError(
            f"--ckpt_path {path} cannot be read as a checkpoint: it is damaged, or holds pickled "
            "objects, which are never unpickled; give a checkpoint that 'wsss-zoo fit' wrote "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise ValueError(
            f"--ckpt_path {path} is no checkpoint of a run; weights alone go to --model.weights or "
            "--model.init_from"
        )
    options = checkpoint.get("hyper_parameters", {})
    if not isinstance(options, Mapping):
        raise ValueError(f"--ckpt_path {path} has no options of a method; give another")
    held = short_name(str(options.get("_class_path", "")))
    if held and model_class_path is not None and held != short_name(model_class_path):
        raise ValueError(
            f"checkpoint {path} holds {held}, --model asks for {short_name(model_class_path)}"
        )
    return checkpoint


def check_checkpoint_fits(
    path: str, checkpoint: Mapping[str, Any], model: LightningModule, class_names: list[str]
) -> None:
    """Refuse a checkpoint whose network is not the one that the command line describes.

    Args:
        path: Checkpoint file, for the message.
        checkpoint: Its content.
        model: The method as built from the command line.
        class_names: Classes of the data set, the background included.

    Raises:
        ValueError: If numbers of classes, parameters or their shapes differ.
    """
    held = checkpoint.get("hyper_parameters", {})
    if held.get("num_classes", len(class_names)) != len(class_names):
        raise ValueError(
            f"checkpoint {path} has {held['num_classes']} classes, the data set has "
            f"{len(class_names)}: {', '.join(class_names)}; give the data set and --data.classes "
            "it was trained with, or train a new model from it with --model.init_from"
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
        "the options it was trained with: --config config.yaml of its run"
    )
