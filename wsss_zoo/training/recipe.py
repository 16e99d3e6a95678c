"""The recipe of a training: a shipped one, with what was chosen for this folder set in it."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wsss_zoo.training.choice import Choice
from wsss_zoo.training.settings import Settings

Content = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Validations of a training, and images in a batch of the shipped segmenters.
VALIDATIONS, _SHIPPED_BATCH = 4, 8
#: Beginning of the names of the steps that predict a few images for the report.
PICTURES, _PICTURES = "pictures_", 8


def make_recipe(
    shipped: Content,
    choice: Choice,
    settings: Settings,
    data: Mapping[str, Any],
    trainer: Mapping[str, Any],
    supervised: Content,
    show: str | None = "val",
) -> Content:
    """Fill in a shipped recipe: the steps that the candidates need, with the settings.

    Args:
        shipped: Content of the recipe that was chosen.
        choice: Candidates and what follows from the labels.
        settings: Crop, batch, steps, network.
        data: Options of the data set, root included.
        trainer: More options of the trainer, of the user.
        supervised: The step that trains on masks alone, for a recipe without it.
        show: Split of the images that each candidate predicts for the report; None for none.
    """
    steps: Content = copy.deepcopy(dict(shipped["steps"]))
    if "supervised" in choice.candidates and "supervised" not in steps:
        steps = {"supervised": copy.deepcopy(supervised), **steps}
    common = copy.deepcopy(dict(shipped["common"]))
    common_steps = (common.get("trainer") or {}).pop("max_steps", 0)
    options = common["data"]["init_args"]
    options |= {"crop_size": settings.crop_size, "num_workers": settings.num_workers, **data}
    if choice.novel_classes:
        options["novel_classes"] = list(choice.novel_classes)
    common["trainer"] = {**settings.trainer, **trainer}
    common["channels_last"] = True
    needed = needed_steps(steps, choice.candidates)
    steps = {name: step for name, step in steps.items() if name in needed}
    fits = [step for step in steps.values() if step["command"] == "fit"]
    longest = max(_steps(step, common_steps) for step in fits)
    for name, step in steps.items():
        step.pop("optional", None)
        if step["command"] != "fit":
            continue
        if name in choice.candidates[1:]:
            # Without it there are others.
            step["optional"] = True
        count = max(1, round(_steps(step, common_steps) * settings.steps / longest))
        _set_fit(step, choice, settings, count)
        if choice.own_masks and name != "cam":
            _group(step, "data")["labeled_split"] = "masked"
    for name in choice.candidates if show else ():
        shown = {"predict_split": show, "predict_limit": _PICTURES}
        steps[f"{PICTURES}{name}"] = {
            "command": "predict",
            "from": name,
            "optional": True,
            "data": {"init_args": shown},
        }
    return {"common": common, "steps": steps}


def only_for(content: Content, wanted: Iterable[str], *, pictures: bool = True) -> Content:
    """Keep the steps that some candidates need, and their pictures."""
    names = list(wanted)
    names += [f"{PICTURES}{name}" for name in names if pictures]
    needed = needed_steps(content["steps"], [n for n in names if n in content["steps"]])
    return {**content, "steps": {n: s for n, s in content["steps"].items() if n in needed}}


def with_split(content: Content, train: str, val: str | None, labeled: str) -> Content:
    """Set which images train, which are held out, and which masks count, as list files.

    Args:
        content: The recipe.
        train: Training images; those of a predict step that makes labels, too.
        val: Held-out images; None for none.
        labeled: Images whose masks count beside pseudo-labels.
    """
    changed = copy.deepcopy(content)
    own = {"train_split": train, "predict_split": train, "val_split": val}
    changed["common"]["data"]["init_args"] |= own
    for name, step in changed["steps"].items():
        arguments = (step.get("data") or {}).get("init_args") or {}
        if arguments.get("labeled_split") == "masked":
            arguments["labeled_split"] = labeled
        if "train_split" in arguments:
            arguments["train_split"] = train
        if name.startswith(PICTURES) and arguments.get("predict_split") == "val" and val is None:
            arguments["predict_split"] = train
    return changed


def needed_steps(steps: Mapping[str, Any], wanted: Iterable[str]) -> set[str]:
    """Find the steps that others need, directly or not: ``from`` and ``{step}`` name them.

    >>> steps = {"a": {}, "b": {"from": "a"}, "c": {"labels": "{b}/x"}, "d": {"from": "a"}}
    >>> sorted(needed_steps(steps, ["c"]))
    ['a', 'b', 'c']
    """
    needed, left = set[str](), list(wanted)
    while left:
        name = left.pop()
        if name in needed:
            continue
        needed.add(name)
        text = str({key: value for key, value in steps[name].items() if key != "command"})
        named = {*_PLACEHOLDER.findall(text), steps[name].get("from")}
        left += [other for other in named if other in steps]
    return needed


def with_steps(content: Content, factor: float, least: int = 1) -> Content:
    """Change the number of steps of each training by a factor."""
    changed = copy.deepcopy(content)
    for step in changed["steps"].values():
        if step["command"] == "fit":
            _set_steps(step, max(least, round(step["trainer"]["max_steps"] * factor)))
    return changed


def _set_fit(step: Content, choice: Choice, settings: Settings, count: int) -> None:
    arguments, data = step["model"]["init_args"], _group(step, "data")
    if "backbone" in arguments:
        arguments["backbone"] = settings.backbone
    if "weights" in arguments:
        arguments["weights"] = settings.weights
    if "freeze_backbone_bn" in arguments and settings.weights is None:
        # Statistics that nothing has estimated must not be frozen.
        arguments["freeze_backbone_bn"] = False
    if "gate_by_tags" in arguments:
        arguments["gate_by_tags"] = choice.gate_by_tags
    if "crop_size" in data:
        data["crop_size"] = min(data["crop_size"], settings.crop_size)
    share = data.get("batch_size", _SHIPPED_BATCH) / _SHIPPED_BATCH
    data["batch_size"] = max(2, round(share * settings.batch_size))
    if settings.accumulate > 1:
        step.setdefault("trainer", {})["accumulate_grad_batches"] = settings.accumulate
    _set_steps(step, count)


def _set_steps(step: Content, count: int) -> None:
    trainer = step.setdefault("trainer", {})
    trainer["max_steps"] = count
    batches = count * trainer.get("accumulate_grad_batches", 1)
    trainer["val_check_interval"] = max(1, batches // VALIDATIONS)
    trainer["check_val_every_n_epoch"] = None


def _group(step: Content, name: str) -> Content:
    group: Content = step.setdefault(name, {}).setdefault("init_args", {})
    return group


def _steps(step: Content, common: int) -> int:
    return int((step.get("trainer") or {}).get("max_steps", common))
