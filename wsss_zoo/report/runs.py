"""Read a run's folder: its settings, its numbers, and whether it is finished."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from wsss_zoo.files.atomic import read_json
from wsss_zoo.report.metrics_file import Curve, Metrics, read_metrics_file
from wsss_zoo.report.settings import Settings, flatten
from wsss_zoo.runs.folder import CONFIG, DONE, METRICS, STARTED

_MEASURED = ("config_validate.yaml", "config_test.yaml")
CONFIGS = (CONFIG, "step.yaml", *_MEASURED, "config_predict.yaml")
# Kept copies of runs have the quality of labels beside the configuration.
RESULTS = (
    "val_results.json", "test_results.json", "pseudo_labels/quality.json", "quality.json",
    "reliability.json",
)  # fmt: skip
_MANIFESTS = ("pseudo_labels/manifest.json", "manifest.json")
# libyaml, where PyYAML was built with it, is ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Run:
    """A run, as far as its folder tells.

    Args:
        folder: Its folder.
        name: Unique name.
        method: Class name of its method.
        seed: Its seed.
        settings: Options by their names on the command line.
        metrics: Final numbers, all finite.
        measured: Names of those that ``validate``, ``test`` or ``predict`` measured.
        curves: Metrics over the training.
        class_names: Names by class index; empty if unknown.
        confusion: Pixels by truth (row) and prediction, (C, C).
        finished: Whether it came to its end, or was measured afterwards.
        problems: What is wrong with it, a line each.
        recipe: Name of the pipeline that it is a stage of.
        stage: Name of the stage.
        place: Number of the stage in its pipeline.
        seconds: Wall time of a stage; of an interrupted (``resumed``) one that of its last part.
    """

    folder: Path
    name: str = ""
    method: str = "unknown method"
    seed: int | None = None
    settings: Settings = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    curves: dict[str, Curve] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    confusion: NDArray[np.float64] | None = None
    finished: bool = True
    problems: list[str] = field(default_factory=list)
    recipe: str | None = None
    stage: str | None = None
    place: int = 0
    seconds: float | None = None
    resumed: bool = False

    def number(self, metric: str) -> float | None:
        """Get the final value of a metric; None if missing, or from an unfinished training."""
        counts = self.finished or metric in self.measured
        return self.metrics.get(metric) if counts else None


def read_run(folder: Path) -> Run:
    """Read a run's folder; whatever is wrong with it is in ``problems``."""
    run = Run(folder)
    config = _read_config(run)
    run.settings = flatten(config)
    run.method = run.settings.get("model", run.method)
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not isinstance(seed, bool):
        run.seed = seed
    found = read_metrics_file(folder / METRICS) if (folder / METRICS).exists() else Metrics()
    run.curves, run.problems = found.curves, run.problems + found.problems
    values = dict(found.last)
    for name in RESULTS:
        if (folder / name).exists():
            values |= _read_results(run, name)
    run.metrics = {name: value for name, value in values.items() if math.isfinite(value)}
    lost = sorted(set(values) - set(run.metrics))
    if lost:
        run.problems.append(f"not a finite number: {shortened(lost, 3)}")
    if not run.class_names:
        lists = [_classes_in(read_json(folder / name)) for name in _MANIFESTS]
        run.class_names = next(filter(None, lists), []) or _classes_of(run.metrics)
    _judge_end(run, found)
    if not values and any((folder / name).exists() for name in _MANIFESTS):
        run.problems.append("no metrics: it only wrote label maps")
    elif not values and run.finished:
        run.problems.append("no metrics: it did not come far enough to measure anything")
        run.finished = False
    return run


def _read_config(run: Run) -> dict[str, Any]:
    """Read the first configuration; how the run was measured is in that of the measurement."""
    names = [name for name in CONFIGS if (run.folder / name).exists()]
    if not names:
        run.problems.append("no config.yaml: method, seed and settings are not known")
        return {}
    found = _read_yaml(run, names[0])
    measured = [name for name in names[1:] if name in _MEASURED]
    other = _read_yaml(run, measured[0]) if measured else {}
    return found | {key: other[key] for key in ("evaluation", "metrics") if key in other}


def _read_yaml(run: Run, name: str) -> dict[str, Any]:
    try:
        text = (run.folder / name).read_text(encoding="utf-8")
        content = yaml.load(text, _LOADER)
        # Aliases can make a file that holds itself.
        json.dumps(content, default=str)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        run.problems.append(f"{name} cannot be read: {' '.join(str(error).split())[:120]}")
        return {}
    if not isinstance(content, dict):
        run.problems.append(f"{name} is no configuration: it holds no options")
        return {}
    return content


def _read_results(run: Run, name: str) -> dict[str, float]:
    """Read the numbers of a results file; its class names and confusion matrix go to the run."""
    content = read_json(run.folder / name)
    metrics = content.get("metrics")
    if not isinstance(metrics, Mapping):
        run.problems.append(f"{name} is damaged; it is left out")
        return {}
    values = {
        name: float(value) for name, value in metrics.items() if isinstance(value, int | float)
    }
    run.measured |= set(values)
    values |= _sweep(content.get("sweep"))
    if run.method == "unknown method" and isinstance(content.get("method"), str):
        run.method = content["method"]
    run.class_names = run.class_names or _classes_in(content)
    if run.confusion is None and "confusion" in content:
        try:
            matrix = np.array(content["confusion"], dtype=np.float64)
        except (ValueError, TypeError):
            matrix = np.zeros(0)
        if matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and np.isfinite(matrix).all():
            run.confusion = matrix
        else:
            run.problems.append(f"the confusion matrix in {name} is damaged; it is left out")
    return values


def _sweep(sweep: Any) -> dict[str, float]:
    """Take the CAM mIoU at every tenth threshold, which need not be tuned on true masks."""
    try:
        pairs = zip(sweep["thresholds"], sweep["miou"], strict=True)
        tenths = {round(10 * float(t)): float(v) for t, v in pairs if abs(10 * t % 1) < 1e-6}
    except (TypeError, KeyError, ValueError):
        return {}
    return {f"pseudo/cam_miou_at_{tenth / 10}": value for tenth, value in tenths.items()}


def _classes_in(content: Mapping[str, Any]) -> list[str]:
    names = content.get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _classes_of(metrics: Mapping[str, float]) -> list[str]:
    for prefix in ("val/iou/", "test/iou/", "pseudo/iou/", "val/ap/", "test/ap/"):
        names = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]
        if names:
            return sorted(names)
    return []


def _judge_end(run: Run, found: Metrics) -> None:
    if (run.folder / STARTED).exists():
        if not (run.folder / DONE).exists():
            run.finished = False
            run.problems.append("not finished: the stage was begun and has not come to its end")
        seconds = read_json(run.folder / DONE).get("seconds")
        run.seconds = float(seconds) if isinstance(seconds, int | float) else None
    # What validate measures by itself is of step 0.
    if found.step <= 0 and not any(name.startswith("train/") for name in found.curves):
        return
    every = max(1, _whole(run.settings.get("trainer.log_every_n_steps"), 50))
    steps = _whole(run.settings.get("trainer.max_steps"), -1)
    epochs = _whole(run.settings.get("trainer.max_epochs"), -1)
    by_epoch = (found.step + 1) / (found.epoch + 1) if found.epoch >= 0 else math.inf
    # Epochs shorter than the steps between two rows leave no row of their own, but the validation
    # at their end does.
    silent = math.ceil(every / by_epoch)
    if any(name.startswith("val/") for name in found.curves):
        silent = min(silent, _whole(run.settings.get("trainer.check_val_every_n_epoch"), 1) - 1)
    ended = ""
    if steps > 0 and epochs < 0 and found.step + every < steps:
        ended = f"step {found.step + 1} of {steps}"
    elif epochs > 0 and steps < 0 and found.epoch + 1 + silent < epochs:
        ended = f"epoch {found.epoch + 1} of {epochs}"
    if ended:
        run.finished = False
        run.problems.append(f"not finished: its last row is of {ended}")


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        return default


def shortened(names: Sequence[str], count: int) -> str:
    """List the first ``count`` names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
