"""Save the evaluated network of a method as a checkpoint of `Supervised`."""

from pathlib import Path

import torch

from wsss_zoo.files.atomic import replacing
from wsss_zoo.methods import BaseMethod, Supervised
from wsss_zoo.runs.checkpoint import read_checkpoint

# What a checkpoint keeps that says nothing of the network.
_LEFT_OUT = frozenset(
    ["state_dict", "hyper_parameters", "optimizer_states", "lr_schedulers", "loops", "callbacks"]
)


def save_supervised(path: str, method: BaseMethod, out: Path) -> None:
    """Write the network that a method is judged by as a checkpoint of `Supervised`.

    Heads that only training needs, averages and second networks are left out; of a method that is
    evaluated by its running average, that average is taken. The class names stay. There is no state
    of an optimiser: training starts from it by ``init_from``, and cannot be resumed.

    Args:
        path: Checkpoint of the method.
        method: The method with these weights.
        out: File to write; it appears complete or not at all.
    """
    checkpoint = read_checkpoint(path, None)
    known = Supervised.option_types()
    options = {name: value for name, value in method.hparams.items() if name in known}
    plain = Supervised(**options | {"weights": None, "init_from": None})
    averaged = method.hparams.get("evaluate") == "average" and method.average is not None
    network = method.average.network if averaged and method.average else method.network
    plain.network.load_state_dict(network.state_dict())
    content = {key: value for key, value in checkpoint.items() if key not in _LEFT_OUT}
    content["state_dict"] = plain.state_dict()
    content["hyper_parameters"] = {"_class_path": "wsss_zoo.Supervised", **dict(plain.hparams)}
    try:
        with replacing(out) as unfinished:
            torch.save(content, unfinished)
    except RuntimeError as error:
        raise OSError(f"{out} cannot be written ({error}); free space there") from error
