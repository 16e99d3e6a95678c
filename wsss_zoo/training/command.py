"""``wsss-zoo train``: one command from a folder to a model."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.arguments.command_parser import UsageError, usage_errors
from wsss_zoo.arguments.given import option_groups, option_key
from wsss_zoo.training.settings import Quality
from wsss_zoo.training.train import StepFailedError, Trained, find_plan, make_request, run_plan


def train_folder(
    folder: Path,
    *,
    plan: bool = False,
    time: str | None = None,
    quality: Quality = "normal",
    weights: str = "imagenet",
    backbone: str | None = None,
    out: Path | None = None,
    onnx: bool = False,
    other_options: Sequence[str] = (),
) -> int:
    """Train a segmenter on a folder of images with labels of any kind.

    It looks at the labels, chooses a recipe, measures a few steps, prints what it chose and why and
    how long it takes, and trains. It compares the candidates on held-out masks, writes masks of all
    images and a report. Run again, it goes on where it stopped.

    More options of the folder and of Lightning's Trainer are --data.NAME and --trainer.NAME;
    everything else is in the recipe that it writes, OUT/recipe.yaml.

    Args:
        folder: Folder with classes.txt, images/ and masks/, image_labels.csv or sparse labels.
        plan: Print what would be done, write the recipe, and stop.
        time: The longest it may take, as 2h or 90min; default: what the quality needs.
        quality: How long to train with how large a network.
        weights: imagenet, a file with weights of the encoder, or none to train from nothing.
        backbone: Encoder of the network; default: one that fits quality and machine.
        out: Folder for everything; default runs/NAME.
        onnx: Write the network as ONNX, too.
        other_options: Options of the folder and of the Trainer, as typed.

    Returns:
        0, or the exit code of the step that failed.
    """
    with usage_errors():
        data, trainer = _more(other_options)
        request = make_request(
            folder, time=time, quality=quality, weights=weights, backbone=backbone, data=data,
            trainer=trainer,
        )  # fmt: skip
    place, made = find_plan(request, out)
    print(made.text(place))
    if plan:
        return 0
    try:
        trained = run_plan(request, made, place, onnx=onnx)
    except StepFailedError as error:
        # The step has printed its message.
        if error.remedy:
            print(f"wsss-zoo train: {error.remedy}", file=sys.stderr)
        return error.code
    print(closing_lines(trained, folder))
    return 0


def closing_lines(trained: Trained, folder: Path) -> str:
    """Say what was measured, where everything is, and the three commands to go on with."""
    place, checkpoint = shlex.quote(str(trained.folder)), shlex.quote(str(trained.checkpoint))
    first, *others = trained.lines
    lines = [f"result: {first}", *(f"        {line}" for line in others)]
    lines += [
        f"masks:  {trained.masks}, pictures of them beside it in overlays/",
        f"report: {trained.report}",
        f"model:  {trained.checkpoint}",
        "next:",
        f"  label other images:         wsss-zoo label FOLDER --ckpt_path {checkpoint}",
        f"  what to label next:         wsss-zoo next {place}",
        f"  after labelling, once more: wsss-zoo train {shlex.quote(str(folder))}",
    ]
    return "\n".join(lines)


def _more(options: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the options of the folder and of the Trainer."""
    groups: Mapping[str, dict[str, Any]] = {"data": {}, "trainer": {}}
    for option, *values in option_groups(options):
        head, _, name = option_key(option).partition(".")
        text = option.split("=", 1)[1] if "=" in option else " ".join(values)
        if head not in groups or not name.isidentifier() or not text:
            raise UsageError(
                f"{option} is no option of train; beside its own it takes --data.NAME VALUE and "
                "--trainer.NAME VALUE, and OUT/recipe.yaml has everything else"
            )
        groups[head][name] = yaml.safe_load(text)
    return groups["data"], groups["trainer"]
