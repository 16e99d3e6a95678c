"""How long the steps of a recipe that are left will take, from those that are done."""

import json
from collections.abc import Sequence
from pathlib import Path

from wsss_zoo.arguments.given import given_settings
from wsss_zoo.files.atomic import read_json
from wsss_zoo.files.durations import duration
from wsss_zoo.pipeline.recipe import Step
from wsss_zoo.runs.folder import DONE


def time_left(steps: Sequence[Step], done: int, root: Path) -> str:
    """Word the time that the steps after the first ``done`` ones need.

    A step that was run before needs what it needed then. A fit needs as many seconds a training
    step as the finished fits on average. Of other steps nothing is known.

    Args:
        steps: All steps of the recipe, in order.
        done: Number of steps that are done.
        root: Folder of the steps' folders.
    """
    rates = [seconds / count for step in steps[:done]
             if (seconds := _seconds(step, root)) and (count := training_steps(step))]  # fmt: skip
    known: list[float] = []
    for step in steps[done:]:
        count, before = training_steps(step), _seconds(step, root)
        if before is not None:
            known.append(before)
        elif count and rates:
            known.append(count * sum(rates) / len(rates))
    left = len(steps) - done
    noun = f"{left} step{'s' * (left != 1)} left"
    if not known:
        return noun
    unknown = left - len(known)
    rest = f", and {unknown} of unknown length" if unknown else ""
    return f"{noun}: about {duration(sum(known))}{rest}"


def training_steps(step: Step) -> int | None:
    """Look up the number of training steps of a fit; None if it has none."""
    if step.command != "fit":
        return None
    settings = json.dumps({key: value for key, value in step.settings.items() if value is not None})
    given = given_settings(["--config", settings, *step.overrides]).get("trainer.max_steps")
    try:
        count = -1 if given is None else int(given.value)
    except (TypeError, ValueError):
        return None
    return count if count > 0 else None


def _seconds(step: Step, root: Path) -> float | None:
    seconds = read_json(root / step.name / DONE).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None
