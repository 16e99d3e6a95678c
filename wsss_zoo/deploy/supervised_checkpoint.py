"""Save the evaluated network of a method as a checkpoint of `Supervised`."""

from pathlib import Path

import torch

from wsss_zoo.files.atomic import replacing
from wsss_zoo.methods import BaseMethod, Supervised
from wsss_zoo.runs.checkpoints.checkpoint import read_checkpoint

# Entries of a checkpoint that do not describe the network.
_LEFT_OUT = frozenset(
    ["state_dict", "hyper_parameters", "optimizer_states", "lr_schedulers", "loops", "callbacks"]
)


def save_supervised(path: str, method: BaseMethod, out: Path) -> None:
    """Write the evaluated network of a method as a checkpoint of `Supervised`.

    This is the running average, if the method evaluates it. Heads for training only and second
    networks are left out; the class names stay. Without an optimiser's state, training can start
    from it (``init_from``), but not resume. The file appears complete or not at all.

    Args:
        path: Checkpoint of the method.
        method: The method with these weights.
        out: File to write.
    """
    known = Supervised.option_types()
    options = {name: value for name, value in method.hparams.items() if name in known}
    plain = Supervised(**options | {"weights": None, "init_from": None})
    averaged = method.average is not None and method.hparams.get("evaluate") == "average"
    network = method.average.network if averaged and method.average else method.network
    plain.network.load_state_dict(network.state_dict())
    checkpoint = read_checkpoint(path)
    content = {key: value for key, value in checkpoint.items() if key not in _LEFT_OUT}
    content["state_dict"] = plain.state_dict()
    content["hyper_parameters"] = {"_class_path": "wsss_zoo.Supervised", **dict(plain.hparams)}
    try:
        with replacing(out) as unfinished:
            torch.save(content, unfinished)
    except RuntimeError as error:
        raise OSError(f"{out} cannot be written ({error}); free space there") from error
