"""The plan of a training: what was found, what was chosen and why, how long it takes."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.data import Folder
from wsss_zoo.files.atomic import write_atomic, write_json
from wsss_zoo.files.durations import duration
from wsss_zoo.inspection.inspection import Inspection, inspect_data
from wsss_zoo.recipes.shipped import find_recipe
from wsss_zoo.runs.data import make_data
from wsss_zoo.training.choice import Choice, choose_recipe
from wsss_zoo.training.labels import Labels, count_labels
from wsss_zoo.training.machine import Machine, this_machine
from wsss_zoo.training.recipe import Content, make_recipe
from wsss_zoo.training.request import PLAN, RECIPE, TRIAL, Request, recipe_digest
from wsss_zoo.training.settings import Settings, fit_settings, smaller
from wsss_zoo.training.trial import (
    STEPS,
    OutOfMemoryError,
    StepCost,
    TooLittleTimeError,
    fit_to_time,
    forecast,
    pick_images,
    try_recipe,
)

# Fewer held-out masks than this measure too little, so folds do.
_ENOUGH_HELD_OUT = 10
_FOLDS = {"draft": 0, "normal": 3, "best": 5}
# Bytes of a mask and its overlay, for the disk; share of the memory that is left to others.
_MASK_BYTES, _SPARE = 300_000, 0.1


@dataclass(frozen=True)
class Plan:
    """What a training does, as its folder keeps it.

    Args:
        choice: Recipe and candidates.
        lines: What there is to learn from.
        settings: What is set in the recipe, in words.
        machine: What it runs on, in words.
        folds: Number of folds that choose among the candidates; 0 for one split.
        seconds: Expected time, all in all.
        memory: Expected peak of main memory of one process, bytes.
        gpu_memory: Expected peak of a GPU's memory, bytes.
        changes: What was changed to fit memory or time, in words.
    """

    choice: Choice
    lines: tuple[str, ...]
    settings: str
    machine: str
    folds: int
    seconds: float
    memory: int
    gpu_memory: int
    changes: tuple[str, ...] = ()

    def text(self, out: Path) -> str:
        """Say everything, a line each."""
        choice = self.choice
        measure = (
            f"{self.folds} folds of the masks choose among {', '.join(choice.candidates)}"
            if self.folds
            else f"held-out masks choose among {', '.join(choice.candidates)}"
        )
        memory = f"peak memory about {_size(self.memory)}"
        memory += f", {_size(self.gpu_memory)} of a GPU" if self.gpu_memory else ""
        several = [f"choice:   {measure}"] if len(choice.candidates) > 1 else []
        lines = [f"found:    {self.lines[0]}", *(f"          {line}" for line in self.lines[1:])]
        lines += [f"recipe:   {choice.recipe} - {choice.reason}"]
        lines += [f"settings: {self.settings}", f"machine:  {self.machine}"]
        lines += [f"changed:  {line}" for line in self.changes]
        lines += [*several, f"expected: about {duration(self.seconds)}, {memory}"]
        lines.append(f"all of it is in {out / RECIPE}, which you may change")
        return "\n".join(lines)


def plan_from(content: Mapping[str, Any]) -> Plan:
    """Make a plan from what its folder keeps."""
    values = _with_tuples(content["plan"])
    return Plan(**(values | {"choice": Choice(**_with_tuples(values["choice"]))}))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _without_background(found: Inspection, val: str) -> list[str]:
    """Say that held-out masks show no background, so that they cannot measure false objects."""
    masked = [i for i in found.splits.get(val, []) if found.is_masked(i)]
    pixels = [found.records[i].pixels for i in masked]
    if not masked or not found.first_fg or any(p is not None and p[0] for p in pixels):
        return []
    return [
        "the held-out masks show no background, so false objects are not measured; where all "
        "objects are outlined, import with --rest background"
    ]


def _unsaid(found: Inspection, data: Mapping[str, Any]) -> list[str]:
    """Name the fact about strokes and points that no file says, and that helps most."""
    sparse = found.sparse
    if sparse is None or not sparse.pixels[0] or "complete_sparse" in data:
        return []
    if sparse.shapes and all(kind == "box" for _, kind in sparse.shapes):
        return []
    return [
        "if each class of an image with sparse labels is labelled, the background too, say "
        "--data.complete_sparse true (else false): it makes better labels"
    ]


def open_data(request: Request, **more: Any) -> Folder:
    """Open the folder of a request.

    Raises:
        ValueError: If an option is none of `Folder`.
    """
    options = request.data_options | more
    data = make_data({"class_path": "Folder", "init_args": options})
    assert isinstance(data, Folder)
    return data


def inspect_folder(request: Request) -> Inspection:
    """Read every file of the folder.

    Raises:
        ValueError: If a file cannot be used; the message has the first ones.
        OSError: If a file that must be there is missing.
    """
    found = inspect_data(open_data(request), lambda records, _: records)
    if found.errors:
        more = f"\nand {len(found.errors) - 3} more" if len(found.errors) > 3 else ""
        raise ValueError("\n".join(found.errors[:3]) + more)
    return found


def make_plan(request: Request, out: Path, state: Mapping[str, Any]) -> Plan:
    """Look at the folder, choose, measure a few steps, and write recipe and plan into ``out``.

    Raises:
        ValueError: If there is too little to learn from, too little time or memory, or a step fails
            in the trial.
        OSError: If files are missing, or the disk is too full.
    """
    found = inspect_folder(request)
    val = str(request.data.get("val_split", "val"))
    labels, machine = count_labels(found, val), this_machine().limited(request.trainer)
    choice = choose_recipe(labels)
    settings = fit_settings(
        labels, machine, request.quality, backbone=request.backbone, weights=request.weights
    )
    check_backbone(settings)
    folds = count_folds(request, choice, labels)
    count = 2 * max(8, settings.batch_size)
    # Validations draw held-out images for the report.
    show = (val if folds else None) if labels.held_out else found.train
    held_out = largest_first([i for i in found.splits.get(val, []) if found.is_masked(i)], found)
    changes: list[str] = []
    print(
        f"{choice.recipe}: trying {STEPS} steps of each training, for time and memory", flush=True
    )
    while True:
        content = _recipe(request, choice, settings, show)
        try:
            ids = trial_images(found, count, content["common"]["data"]["init_args"])
            costs = try_recipe(content, out / TRIAL, ids, held_out)
            _check_memory(costs, machine)
            break
        except OutOfMemoryError as error:
            less = smaller(settings)
            if less is None:
                raise ValueError(
                    f"{error}, even with crops of {settings.crop_size} and batches of "
                    f"{settings.batch_size}; take a smaller --backbone, or close other programs"
                ) from error
            changes.append(
                f"{error}: batches of {less.batch_size} in place of {settings.batch_size}, crops "
                f"of {less.crop_size}, {less.accumulate} batches a step"
            )
            settings = less
    fixed, variable = forecast(content, costs, labels.images, labels.held_out)
    rounds = folds + 1
    labelling = _labelling(costs, content, choice, len(found.records), labels.held_out * rounds)
    seconds = rounds * (fixed + variable) + labelling
    if request.seconds is not None:
        content, seconds, said = _in_time(content, fixed, variable, labelling, request, rounds)
        seconds = seconds * rounds + labelling
        changes += said
    settings = replace(settings, steps=_longest(content))
    _check_disk(out, costs, rounds, len(found.records))
    plan = Plan(
        choice,
        (*labels.lines(), *_without_background(found, val), *_unsaid(found, request.data)),
        settings.line(),
        machine.line(),
        folds,
        seconds,
        max(cost.memory for cost in costs.values()),
        max(cost.gpu_memory for cost in costs.values()),
        tuple(changes),
    )
    text = _recipe_text(plan, content)
    write_atomic(out / RECIPE, text)
    kept = {"request": dict(state), "plan": asdict(plan), "recipe_sha256": recipe_digest(text)}
    write_json(out / PLAN, kept | {"costs": {name: asdict(c) for name, c in costs.items()}})
    return plan


def count_folds(request: Request, choice: Choice, labels: Labels) -> int:
    """Choose the number of folds that measure the candidates; 0 for the held-out images.

    Folds are for few masks, several candidates, and a folder without lists of its own.
    """
    lists = [request.folder / "splits" / f"{name}.txt" for name in ("train", "val")]
    own_lists = any(path.is_file() for path in lists) or "val_split" in request.data
    masks = sum(labels.mask_classes.values()) and labels.masked + labels.held_out
    enough = labels.held_out >= _ENOUGH_HELD_OUT
    if own_lists or enough or len(choice.candidates) == 1 or masks < 2:
        return 0
    return min(_FOLDS[request.quality], masks)


def check_backbone(settings: Settings) -> None:
    """Refuse to begin without the network's encoder or its ImageNet weights.

    Raises:
        ValueError: If there is no such encoder, or its ImageNet weights cannot be had; the message
            says what to do.
    """
    # Only now: timm takes seconds.
    from wsss_zoo.modules import Backbone

    backbone = settings.backbone
    if settings.weights != "imagenet":
        Backbone(backbone)
        return
    try:
        Backbone(backbone, weights="imagenet")
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"there are no ImageNet weights of {backbone} ({error}); give a file of them, "
            f"--weights FILE (the model.safetensors of huggingface.co/timm/{backbone}), or train "
            "from nothing, --weights none. From nothing, 55 masks of animals gave 11 % mIoU in "
            "place of 53 %: it takes many more masks and steps"
        ) from error


def _recipe(request: Request, choice: Choice, settings: Settings, show: str | None) -> Content:
    def shipped(name: str) -> Content:
        path = find_recipe(f"experiments/pipelines/{name}.yaml", "pipeline")
        content: Content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return content

    supervised = shipped("masks_folder")["steps"]["supervised"]
    own = request.data_options, request.trainer, supervised
    return make_recipe(shipped(choice.recipe), choice, settings, *own, show)


def trial_images(found: Inspection, count: int, data: Mapping[str, Any]) -> list[str]:
    """Pick images of each kind of label that the recipe trains on."""
    train, split = found.splits[found.train], data.get("train_split")
    if split in ("tagged", "masked"):  # a mask gives tags too
        is_tagged_split = split == "tagged"
        train = [i for i in train if found.is_masked(i) or (is_tagged_split and i in found.tags)]
    sparse = found.sparse.images if found.sparse else frozenset[str]()
    kinds: list[list[str]] = [[], [], [], []]
    for image_id in train:
        is_masked, is_tagged = found.is_masked(image_id), image_id in found.tags
        place = 0 if image_id in sparse else 1 if is_masked else 2 if is_tagged else 3
        kinds[place].append(image_id)
    return pick_images([largest_first(kind, found) for kind in kinds], count)


def largest_first(ids: Sequence[str], found: Inspection) -> list[str]:
    """Put the image with the most pixels first, which needs the most memory where it is whole."""
    sizes = {image_id: math.prod(found.records[image_id].size or (0, 0)) for image_id in ids}
    largest = max(ids, key=sizes.__getitem__, default=None)
    return [] if largest is None else [largest, *(i for i in ids if i != largest)]


def _check_memory(costs: Mapping[str, StepCost], machine: Machine) -> None:
    needed = max(cost.memory for cost in costs.values())
    on_gpu = max(cost.gpu_memory for cost in costs.values())
    pairs = [(needed * max(1, machine.gpus), machine.memory, "memory")]
    pairs += [(on_gpu, machine.gpu_memory, "GPU memory")] if machine.gpus else []
    for need, there, kind in pairs:
        if need > there * (1 - _SPARE):
            raise OutOfMemoryError(
                f"{_size(need)} of {kind} would be needed, {_size(there)} is free"
            )


def _check_disk(out: Path, costs: Mapping[str, StepCost], rounds: int, images: int) -> None:
    # While a checkpoint is written, the one before is still there.
    needed = 2 * rounds * sum(cost.disk for cost in costs.values()) + images * _MASK_BYTES
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OSError(
            f"{out} needs about {_size(needed)}, and {_size(free)} is free on its disk; free space "
            "or name another --out"
        )


def _labelling(
    costs: Mapping[str, StepCost], content: Content, choice: Choice, images: int, held_out: int
) -> float:
    """Forecast the seconds of measuring the candidates and of writing all masks."""
    last = costs[choice.candidates[-1]]
    size = content["steps"][choice.candidates[-1]]["data"]["init_args"]["batch_size"]
    return (last.image or last.batch / size) * (images + held_out * len(choice.candidates))


def _in_time(
    content: Content, fixed: float, variable: float, extra: float, request: Request, rounds: int
) -> tuple[Content, float, list[str]]:
    assert request.seconds is not None
    try:
        changed, seconds = fit_to_time(content, fixed, variable, (request.seconds - extra) / rounds)
    except TooLittleTimeError as error:
        least = error.needed * rounds + extra
        less = "" if request.quality == "draft" else ", or --quality draft"
        raise ValueError(
            f"--time {duration(request.seconds)} is too short for even a few steps of each "
            f"training, which take about {duration(least)} with the masks; give more "
            f"time{less}"
        ) from error
    if changed is content:
        return content, seconds, []
    fewer = f"{_longest(changed)} steps in place of {_longest(content)}"
    return changed, seconds, [f"{fewer}, to be done in {duration(request.seconds)} from now on"]


def _longest(content: Content) -> int:
    """Count the steps of the longest training."""
    fits = [step for step in content["steps"].values() if step["command"] == "fit"]
    return max(int(step["trainer"]["max_steps"]) for step in fits)


def _recipe_text(plan: Plan, content: Content) -> str:
    head = [
        f"# wsss-zoo train: {plan.choice.recipe}, {plan.settings}",
        f"# {plan.choice.reason}",
        "# Change it and run wsss-zoo train again; by hand: wsss-zoo pipeline FILE --root FOLDER",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(content, sort_keys=False, width=100)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GB"
