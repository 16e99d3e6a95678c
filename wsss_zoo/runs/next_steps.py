"""What a finished training leaves, and the commands that go on from there."""

import shlex
from pathlib import Path

from wsss_zoo.runs.folder import CHECKPOINT, CONFIG


def next_steps(folder: Path, output: str, supervision: str) -> str:
    """Name the checkpoint of a training and the next commands, one a line.

    Args:
        folder: The run's folder.
        output: Output of the method: "segmentation", "classification" or "pretext".
        supervision: Supervision of the method.
    """
    config, checkpoint = (shlex.quote(str(folder / name)) for name in (CONFIG, CHECKPOINT))
    measure = ("measure it", f"wsss-zoo validate --config {config} --ckpt_path {checkpoint}")
    labels = ("write pseudo-labels", f"wsss-zoo predict --config {config} --ckpt_path {checkpoint}")
    if output == "pretext":
        encoder = f"wsss-zoo fit --model Supervised --model.weights {checkpoint} .."
        commands = [("train on its encoder", encoder)]
    elif supervision == "graphs":
        commands = [labels]
    elif output == "classification":
        commands = [measure, labels]
    else:
        images = f"wsss-zoo label FOLDER --ckpt_path {checkpoint}"
        commands = [measure, ("label a folder of images", images)]
    lines = [f"  {what}: {command}" for what, command in commands]
    return "\n".join([f"the trained model is {folder / CHECKPOINT}; next:", *lines])
