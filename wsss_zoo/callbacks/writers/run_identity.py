"""Hashes by which a run that writes files recognises its own earlier, interrupted self."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer

from wsss_zoo.contract import DataModule
from wsss_zoo.files.manifests import Manifest, sha256_file

_NEWER = (("par", False), ("gate_by_labels", False), ("refit_by_labels", False))
_PLAIN = (bool, int, float, str, type(None))


def evaluation_settings(module: LightningModule) -> dict[str, Any]:
    """Collect public plain values of a method's ``evaluation``: window, scales, flip, CRF, PAR."""
    evaluation = getattr(module, "evaluation", None)
    settings = {} if evaluation is None else vars(evaluation)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if not name.startswith("_")
        and _is_plain(value)
        # Folders of earlier versions, which are to be resumed, do not know them.
        and (name, value) not in _NEWER
    }


def config_hash(trainer: Trainer, module: LightningModule, data: DataModule) -> str:
    """Hash what decides a method's predictions apart from weights and writer options.

    These are: the method's class and hyper-parameters, its evaluation settings, the precision, the
    ids in order, their tags, and the pixels of the first image, which tell one generated or changed
    data set from another; with ``gate_by_labels`` also what the labels allow. Not: paths of the
    data and of the run, loader settings, time. So the same command gives the same hash after a
    kill, or where the data lie elsewhere.

    Returns:
        Hexadecimal digits of a SHA-256.
    """
    image_ids = data.predict_ids()
    content = hashlib.sha256()
    for image_id in image_ids:
        tags = data.image_labels_of(image_id)
        content.update(b"-" if tags is None else tags.tobytes())
    if getattr(getattr(module, "evaluation", None), "gate_by_labels", False):
        _add_gate(content, data)
    if image_ids:
        content.update(data.read_image(image_ids[0]).tobytes())
    described = {
        "method": type(module).__name__,
        "hyper_parameters": {
            name: value for name, value in module.hparams.items() if not name.startswith("_")
        },
        "evaluation": evaluation_settings(module),
        "precision": str(trainer.precision),
        "image_ids": image_ids,
        "content": content.hexdigest(),
    }
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _add_gate(content: Any, data: Any) -> None:
    """Add what labels allow in the images of a prediction."""
    gate = data.label_gate
    for image_id in data.predict_ids():
        for known in gate.read(image_id, data.source.image_size(image_id)).values():
            content.update(np.packbits(known.numpy()).tobytes())


def checkpoint_hash(trainer: Trainer, module: LightningModule) -> str:
    """Hash the checkpoint file that the trainer loads, else the weights in memory.

    Of a ``ckpt_path`` that is no local file, the text is hashed.

    Returns:
        Hexadecimal digits of a SHA-256.
    """
    if trainer.ckpt_path is not None:
        path = Path(trainer.ckpt_path)
        if path.is_file():
            return sha256_file(path)
        return hashlib.sha256(str(trainer.ckpt_path).encode()).hexdigest()
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def manifest_of(
    trainer: Trainer, module: LightningModule, data: DataModule, options: dict[str, Any]
) -> Manifest:
    """Make the manifest of a folder that a prediction writes, once the checkpoint is loaded."""
    return Manifest(
        method=type(module).__name__,
        class_names=list(data.class_names),
        count=len(data.predict_ids()),
        config_hash=config_hash(trainer, module, data),
        checkpoint_hash=checkpoint_hash(trainer, module),
        options=options,
        # Of a list file the name: where it lies is the machine's own.
        split=Path(str(data.predict_split)).name,
    )


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(part, _PLAIN) for part in values)
