"""A few steps of every training of a recipe, to forecast time and memory of all of them."""

import contextlib
import copy
import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import yaml

from wsss_zoo.callbacks.training.step_times import STEP_TIMES
from wsss_zoo.data.reading.splits import write_split
from wsss_zoo.files.atomic import read_json, write_atomic
from wsss_zoo.pipeline.command import run_recipe
from wsss_zoo.runs.folder import CHECKPOINT, DONE, OUT_OF_MEMORY
from wsss_zoo.training.out_of_memory import KILLED
from wsss_zoo.training.recipe import PICTURES, VALIDATIONS, Content, with_steps

#: Steps of each training that are tried.
STEPS = 5
_VAL_IMAGES = 2


class OutOfMemoryError(ValueError):
    """The trial needed more memory than there is."""


@dataclass(frozen=True)
class StepCost:
    """What a step of a recipe costs.

    Args:
        start: Seconds before and after its batches.
        batch: Seconds of a training batch.
        image: Seconds of a whole image, in validation or prediction; 0 if none was run.
        memory: Peak of main memory, bytes.
        gpu_memory: Peak of a GPU's memory, bytes.
        disk: Size of the checkpoint, bytes.
    """

    start: float
    batch: float = 0.0
    image: float = 0.0
    memory: int = 0
    gpu_memory: int = 0
    disk: int = 0


def try_recipe(
    content: Content, folder: Path, ids: Sequence[str], held_out: Sequence[str] = ()
) -> dict[str, StepCost]:
    """Run a few steps of each training on a few images, and measure.

    Args:
        content: The recipe.
        folder: Folder for the trial; it is removed in the end.
        ids: Training images to use.
        held_out: Held-out images; the first two are validated.

    Raises:
        OutOfMemoryError: If a step had too little memory.
        ValueError: If a step fails; the message is that of the step.
    """
    shutil.rmtree(folder, ignore_errors=True)
    log = folder.with_name(f"{folder.name}.log")
    try:
        write_split(folder / "images.txt", list(ids))
        short = _shortened(content, folder / "images.txt")
        if held_out:
            write_split(folder / "held_out.txt", list(held_out[:_VAL_IMAGES]))
            short["common"]["data"]["init_args"]["val_split"] = str(folder / "held_out.txt")
        path = folder / "trial.yaml"
        write_atomic(path, yaml.safe_dump(short, sort_keys=False))
        with _output_to(log):
            code = run_recipe(path, root=folder / "steps")
        if code >= 128 and code != KILLED:
            raise KeyboardInterrupt
        if code:
            _raise_failure(folder / "steps", log, code)
        costs = {name: _cost(folder / "steps" / name) for name in short["steps"]}
        for name in content["steps"].keys() - costs:
            trained = costs[content["steps"][name]["from"]]
            image = trained.image or trained.batch
            costs[name] = replace(trained, batch=0.0, image=image, disk=0)
        return costs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pick_images(groups: Sequence[Sequence[str]], count: int) -> list[str]:
    """Pick images from groups in turn, so that each kind of label is there.

    >>> pick_images([["a", "b", "c"], ["x"], []], 3)
    ['a', 'x', 'b']
    """
    longest = max(map(len, groups), default=0)
    order = [group[place] for place in range(longest) for group in groups if place < len(group)]
    return list(dict.fromkeys(order))[:count]


def forecast(
    content: Content, costs: Mapping[str, StepCost], train_images: int, val_images: int
) -> tuple[float, float]:
    """Forecast the seconds of a recipe: apart from its training steps, and in these.

    Args:
        content: The recipe.
        costs: What a trial measured of its steps.
        train_images: Images that a predict step goes over.
        val_images: Held-out images.
    """
    devices = content["common"].get("trainer", {}).get("devices", 1)
    ranks = devices if isinstance(devices, int) else 1
    fixed = variable = 0.0
    for name, step in content["steps"].items():
        cost = costs[name]
        fixed += cost.start
        if step["command"] != "fit":
            limit = ((step.get("data") or {}).get("init_args") or {}).get("predict_limit")
            fixed += cost.image * math.ceil(min(train_images, limit or train_images) / ranks)
            continue
        trainer = step["trainer"]
        batches = trainer["max_steps"] * trainer.get("accumulate_grad_batches", 1)
        variable += cost.batch * batches
        fixed += cost.image * math.ceil(val_images / ranks) * VALIDATIONS
    return fixed, variable


def fit_to_time(
    content: Content, fixed: float, variable: float, budget: float, least: int = STEPS
) -> tuple[Content, float]:
    """Lower the number of steps so that a recipe takes no longer than a budget.

    Returns:
        The recipe, and the seconds that it is expected to take.

    Raises:
        ValueError: If the budget is too small for a few steps of each training; the message has
            ``needed`` in seconds as its last argument.
    """
    if fixed + variable <= budget:
        return content, fixed + variable
    fewest = min(s["trainer"]["max_steps"] for s in content["steps"].values() if "trainer" in s)
    factor = (budget - fixed) / variable
    if factor * fewest < least:
        raise TooLittleTimeError(fixed + variable * min(1.0, least / fewest))
    return with_steps(content, factor, least), fixed + variable * factor


class TooLittleTimeError(ValueError):
    """The time given is too short; ``needed`` is the least, in seconds."""

    def __init__(self, needed: float) -> None:
        super().__init__(f"at least {needed:.0f} s are needed")
        self.needed = needed


def _shortened(content: Content, images: Path) -> Content:
    short = with_steps(copy.deepcopy(content), 0.0, STEPS)
    common = short["common"]
    common["trainer"] |= {
        "limit_val_batches": _VAL_IMAGES,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "callbacks": [{"class_path": "wsss_zoo.callbacks.StepTimes"}],
    }
    common["data"]["init_args"] |= {"train_split": str(images), "predict_split": str(images)}
    novel = common["data"]["init_args"].get("novel_classes")
    # Pictures cost what their images cost in a validation.
    for name in [name for name in short["steps"] if name.startswith(PICTURES)]:
        del short["steps"][name]
    for step in short["steps"].values():
        step.pop("optional", None)
        trainer = step.get("trainer") or {}
        if "val_check_interval" in trainer:
            batches = STEPS * trainer.get("accumulate_grad_batches", 1)
            trainer["val_check_interval"] = batches
        arguments = (step.get("data") or {}).get("init_args") or {}
        for key in ("train_split", "predict_split"):
            arguments.pop(key, None)
        if novel:
            # After a few steps no label has a novel class, which is an error. Masks cost the same.
            arguments.pop("pseudo_label_dir", None)
    return short


def _cost(folder: Path) -> StepCost:
    times, done = read_json(folder / STEP_TIMES), read_json(folder / DONE)
    ends = times.get("ends", {})
    lengths = {kind: _lengths(ends.get(kind, [])) for kind in ("train", "val", "predict")}
    # The first batch of each kind also warms up.
    batch, val, predict = (median(each[1:] or each or [0.0]) for each in lengths.values())
    spent = sum(map(sum, lengths.values()))
    checkpoint = folder / CHECKPOINT
    return StepCost(
        start=max(0.0, float(done.get("seconds", 0.0)) - spent),
        batch=batch,
        image=predict or val,
        memory=int(times.get("memory", 0)),
        gpu_memory=int(times.get("gpu_memory", 0)),
        disk=checkpoint.stat().st_size if checkpoint.exists() else 0,
    )


def _lengths(ends: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(ends)]


def _raise_failure(steps: Path, log: Path, code: int) -> None:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in text if line.startswith("wsss-zoo ") and ": error: " in line]
    lacked = [read_json(path).get("out_of_memory") for path in steps.glob(f"*/{STEP_TIMES}")]
    if code == KILLED or any(lacked) or any(steps.glob(f"*/{OUT_OF_MEMORY}")):
        raise OutOfMemoryError("out of memory")
    reason = said[-1].partition(": error: ")[2] if said else "\n".join(text[-5:])
    raise ValueError(f"a trial of {STEPS} steps failed: {reason}; all of its output: {log}")


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Write what this process and its children print to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with log.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
    finally:
        for number, original in enumerate(kept, 1):
            os.dup2(original, number)
            os.close(original)
