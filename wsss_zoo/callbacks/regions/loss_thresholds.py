"""The loss up to which a given label is clean: chosen, written to ``threshold.json``, read."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import noise_threshold

REMEDY = "measure it with a lower --noise.precision, or give a number"


def choose_thresholds(
    losses: Tensor, labels: Tensor, is_correct: Tensor, precision: float, class_names: Sequence[str]
) -> dict[str, Any]:
    """Choose the thresholds of a precision in (0, 1], for all classes together and for each.

    Losses, given classes and whether these are true are those of pixels, (P,) each. Infinite
    losses are noise whatever the threshold.

    Returns:
        ``gamma``; ``gammas`` by class name; ``why``, the reason for a missing or borrowed
        threshold. A threshold of -inf, where no pixel is clean, is None.
    """
    finite = losses.isfinite()
    gamma = noise_threshold(losses[finite], is_correct[finite], precision)
    reached = f"no loss below which a share of {precision:g} of the labels is correct"
    why = {} if math.isfinite(gamma) else {"gamma": reached}
    gammas = {}
    for index, name in enumerate(class_names):
        own = finite & (labels == index)
        value = noise_threshold(losses[own], is_correct[own], precision) if own.any() else gamma
        if not own.any():
            why[name] = "no labelled pixel: that of all classes"
        elif not math.isfinite(value):
            why[name] = reached
        gammas[name] = _json(value)
    return {"gamma": _json(gamma), "gammas": gammas, "why": why}


def used_thresholds(content: dict[str, Any], class_names: Sequence[str]) -> Tensor:
    """Pick the thresholds that a ``threshold.json`` asks for, -inf for None, (C,) float64."""
    common = dict.fromkeys(class_names, content["gamma"])
    own = content["gammas"] if content["per_class"] else common
    thresholds = [-math.inf if own[name] is None else own[name] for name in class_names]
    return torch.tensor(thresholds, dtype=torch.float64)


def read_thresholds(given: float | str | None, class_names: Sequence[str]) -> Tensor:
    """Read ``graphs.threshold``, a number or a ``threshold.json``: by class, (C,) float64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If nothing was given, the number is out of range, or the file is none of
            NoiseDetector's, for other classes, or without any threshold.
    """
    if given is None:
        raise ValueError(
            "graphs.pseudo_label_dir needs graphs.threshold, the loss up to which a label counts "
            "as clean: a number, or the noise/threshold.json that 'wsss-zoo predict "
            "--noise.pseudo_label_dir ..' measures on images with masks"
        )
    if isinstance(given, int | float):
        if not 0 <= given < math.inf:
            raise ValueError(f"graphs.threshold is {given}; a loss is a number from 0 on")
        return torch.full((len(class_names),), float(given), dtype=torch.float64)
    path = Path(given)
    if not path.is_file():
        raise FileNotFoundError(
            f"graphs.threshold {path} is neither a number nor a file; 'wsss-zoo predict "
            "--noise.pseudo_label_dir ..' writes noise/threshold.json"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content["class_names"]
        thresholds = None if names != list(class_names) else used_thresholds(content, names)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"graphs.threshold {path} is no threshold.json of 'wsss-zoo predict --noise..' "
            f"({type(error).__name__}: {error}); give another"
        ) from error
    if thresholds is None:
        raise ValueError(
            f"the thresholds in {path} are for the classes {names}, the data set has "
            f"{list(class_names)}; measure them again with these classes"
        )
    if not (thresholds > -math.inf).any():
        raise ValueError(f"{path} has no threshold ({content.get('why')}); {REMEDY}")
    return thresholds


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
