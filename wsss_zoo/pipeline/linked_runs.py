"""``wsss-zoo pipeline --use STEP=FOLDER``: link a finished run in place of a step."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from wsss_zoo.arguments.given import Setting, given_settings
from wsss_zoo.files.atomic import read_json
from wsss_zoo.pipeline.recipe import WRITERS, Recipe, Step
from wsss_zoo.runs.folder import CHECKPOINT, CONFIG, DONE, STARTED

# The file that each command writes last.
_LAST_FILE = {
    "fit": str(CHECKPOINT),
    "validate": "val_results.json",
    "test": "test_results.json",
    "predict": "pseudo_labels/manifest.json",
    "reliability": "reliability.json",
    **{command: "/".join(place) for command, place in WRITERS.items()},
}
_COMPARED = ("model", "data", "seed_everything", "trainer.max_steps", "trainer.max_epochs")


def link_finished_runs(recipe: Recipe, root: Path, given: Sequence[str], console: Console) -> bool:
    """Link the folders of steps to finished runs; remove the links that are not given again.

    Settings of a run that differ from its step's are printed; the run is taken all the same. A
    linked folder is only read.

    Args:
        recipe: The recipe.
        root: Folder of the steps' folders.
        given: ``step=folder`` for each step to link.
        console: Console to print on.

    Returns:
        Whether a link is new or gone.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If a step is unknown, a run is not finished, or the step has a folder of its
            own.
    """
    wanted = dict(_parse(recipe, text) for text in given)
    changed = False
    for step in recipe.steps:
        place, folder = root / step.name, wanted.get(step.name)
        if folder is not None:
            _check_finished(step, folder)
            for difference in _differences(step, folder):
                console.print(f"{folder} differs from step {step.name}: {difference}", markup=False)
        target = None if folder is None else folder.resolve()
        if (place.resolve() if place.is_symlink() else None) == target:
            continue
        if place.is_symlink():
            place.unlink()
        if place.exists():
            raise ValueError(
                f"--use {step.name}={folder}: {place} is already the step's own folder; leave out "
                "--use, or choose another --root"
            )
        if target is not None:
            place.symlink_to(target, target_is_directory=True)
        changed = True
    return changed


def _parse(recipe: Recipe, text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    names = [step.name for step in recipe.steps]
    if name not in names or not folder:
        raise ValueError(
            f"--use {text}: give STEP=FOLDER, a finished run; steps are {', '.join(names)}"
        )
    return name, Path(folder)


def _check_finished(step: Step, folder: Path) -> None:
    place = f"--use {step.name}={folder}"
    if not folder.is_dir():
        raise FileNotFoundError(f"{place}: there is no such folder")
    last_file = folder / _LAST_FILE[step.command]
    if not last_file.exists():
        raise ValueError(
            f"{place}: it has no {_LAST_FILE[step.command]}, so it is no finished {step.command}"
        )
    if step.command == "simulate" and not read_json(last_file).get("finished"):
        raise ValueError(
            f"{place}: its drawing did not come to its end; run wsss-zoo simulate again first"
        )
    if (folder / DONE).exists():
        return
    if (folder / STARTED).exists():
        raise ValueError(
            f"{place}: a pipeline began it and did not finish; run that pipeline again first"
        )
    if step.command == "fit":
        _check_trained(place, folder, last_file)


def _check_trained(place: str, folder: Path, path: Path) -> None:
    """Refuse a run whose checkpoint is from before the end that its configuration gives."""
    # It imports torch, which a pipeline without such a folder does not.
    from wsss_zoo.runs.checkpoints.checkpoint import read_checkpoint

    config = _read_config(folder)
    if not all(isinstance(config.get(name), dict) for name in ("model", "trainer")):
        raise ValueError(f"{place}: it has no config.yaml of a run")
    checkpoint = read_checkpoint(str(path), config["model"].get("class_path"))
    steps, epochs = config["trainer"].get("max_steps", -1), config["trainer"].get("max_epochs")
    if epochs is None:
        # Lightning's default where neither epochs nor steps are given.
        epochs = 1000 if steps == -1 else -1
    step, epoch = checkpoint["global_step"], checkpoint["epoch"]
    if not (0 <= steps <= step or 0 <= epochs <= epoch):
        end = f"step {steps}" if steps >= 0 else f"epoch {epochs}"
        raise ValueError(
            f"{place}: its checkpoint is of step {step}, epoch {epoch}, before its end at {end}; "
            f"finish it: wsss-zoo fit --config {folder / CONFIG} --ckpt_path {path}"
        )


def _differences(step: Step, folder: Path) -> list[str]:
    """List settings of the step that the run had otherwise, but for paths of other steps."""
    if step.ranks or not (folder / CONFIG).exists():
        return []
    settings = json.dumps({key: value for key, value in step.settings.items() if value is not None})
    asked = given_settings(["--config", settings, *step.overrides])
    had = given_settings(["--config", str(folder / CONFIG)])
    found = []
    for key, setting in asked.items():
        if key.startswith(_COMPARED) and key in had and "{" not in str(setting.value):
            ours, theirs = _yaml_value(setting), _yaml_value(had[key])
            if ours != theirs:
                found.append(f"{key} is {theirs}, not {ours}")
    return found


def _yaml_value(setting: Setting) -> Any:
    """Parse a value as YAML does; of an import path take the last part."""
    value = setting.value
    if not isinstance(value, str):
        return value
    if value.startswith("wsss_zoo."):
        return value.rsplit(".", 1)[-1]
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read ({reason}); give a run of wsss-zoo") from error
    return content if isinstance(content, dict) else {}
