"""Read recipes: YAML files of steps, each a call of the command line."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from wsss_zoo.arguments.given import given_settings, option_groups, option_key, share_options

MAPS, LABELS = "maps", "labels"
# Commands without a model that write a file per image: the folder in their step, and its last file.
WRITERS = {
    "saliency": (MAPS, "manifest.json"),
    "superpixels": (MAPS, "manifest.json"),
    "simulate": (LABELS, "simulation.json"),
}
_EARLY_COMMANDS = ("fit", "validate", "test", "predict", "reliability")
COMMANDS = (*_EARLY_COMMANDS, *WRITERS)
# First parts of the options of the first four: what a step may set, and no name for a step.
GROUPS = frozenset({
    "seed_everything", "trainer", "model", "data", "metrics", "classification_metrics",
    "pretext_metrics", "labels", "noise", "graphs", "visualizer", "finite_loss", "checkpoint",
    "evaluation", "ckpt_path", "channels_last", "compile",
})  # fmt: skip
# Options of the last one, which has no use for those that all steps share.
_RANKING = frozenset({"earlier", "last", "reliable_share"})
_MAPPING = frozenset({"data", "trainer", "num_workers"})
_OPTIONS = {
    "reliability": _RANKING,
    "saliency": _MAPPING | {"model_path", "preprocessing", "num_threads"},
    "superpixels": _MAPPING | {"num_segments", "backend"},
    "simulate": frozenset({"data", "kind", "seed", "clip", "error", "jitter", "share"}),
}
# What steps that write maps take of the trainer that steps share; `simulate` has none.
_DEVICES = ("accelerator", "devices", "strategy", "num_nodes")
# Options that would mean the same for steps that must differ in them.
_PER_STEP = {"model", "ckpt_path", "data.pseudo_label_dir", "labels.out_dir", "graphs.out_dir"}
_SHEET = {"images", "cam", "pseudo_label", "preds"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Step:
    """One call of the command line.

    Args:
        name: Name of the step and of its folder.
        command: fit, validate, test, predict, reliability, saliency, superpixels or simulate.
        settings: Content of its config file; ``{step}`` stands for the folder of another step.
        overrides: Options that the user adds, as typed.
        optional: Whether the recipe goes on when the step fails. It only measures, and a user's
            images may have no masks.
    """

    name: str
    command: str
    settings: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    optional: bool = False

    def resolved(self, root: Path) -> dict[str, Any]:
        """Put folders of steps in place of the placeholders in the settings."""
        resolved: dict[str, Any] = _map_strings(self.settings, lambda text: fill(text, root))
        return resolved

    @property
    def ranks(self) -> bool:
        """Whether the step ranks label maps, and has none of the settings that steps share."""
        return self.command == "reliability"

    @property
    def writes_files(self) -> bool:
        """Whether the step writes a file per image, and has no model."""
        return self.command in WRITERS

    def inputs(self) -> list[str]:
        """List the settings that name files of other steps, with their placeholders."""
        return sorted({text for text in _strings(self.settings) if _PLACEHOLDER.search(text)})


@dataclass(frozen=True)
class Recipe:
    """Steps in order, and what to show at the end.

    Args:
        name: File name without suffix.
        steps: In the order they run.
        report: Line of the final table to ``step:metric``.
        sheet: Column of the picture sheet to the step it is from; ``images`` to the step that
            predicted the images to show.
    """

    name: str
    steps: tuple[Step, ...]
    report: Mapping[str, str] = field(default_factory=dict)
    sheet: Mapping[str, str] = field(default_factory=dict)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and give each step what the user adds to it.

    A recipe has ``steps``: name to ``command`` (fit, validate, test, predict, reliability,
    saliency, superpixels, simulate) and settings of that command, as in its config files;
    ``common``: settings of all steps, of which reliability takes none, saliency and superpixels the
    data set and the devices, simulate the data set; ``report`` and ``sheet``: what to show.
    ``{step}`` in a setting stands for the
    folder of an earlier step, and ``from: step`` for the model of that step (less ``init_from``)
    and its last checkpoint. The recipe goes on when a step with ``optional: true`` fails.

    Args:
        path: The YAML file.
        overrides: Options as for the commands: ``--trainer.max_steps 10`` for all steps,
            ``--cam.trainer.max_steps 10`` for the step ``cam``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no recipe or an option is for no step; the message names the place.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}; wsss-zoo recipes lists them")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("steps"), dict):
        raise ValueError(f"{path} is no recipe: it needs 'steps', a mapping from names to settings")
    unknown = set(content) - {"common", "steps", "report", "sheet"}
    if unknown:
        raise ValueError(
            f"{path}: unknown key {min(unknown)!r}; a recipe has common, steps, report, sheet"
        )
    common = content.get("common") or {}
    _check_keys(f"{path}: common", common, GROUPS)
    steps: dict[str, Step] = {}
    for name, settings in content["steps"].items():
        place = f"{path}: step {name!r}"
        steps[name] = _read_step(place, name, settings, common, steps)
    _check_report(path, content, steps)
    return Recipe(
        path.stem,
        tuple(_override(list(steps.values()), content["steps"], overrides)),
        content.get("report") or {},
        content.get("sheet") or {},
    )


def fill(text: str, root: Path) -> str:
    """Put folders of steps in place of placeholders.

    >>> fill("{cam}/checkpoints/last.ckpt", Path("runs"))
    'runs/cam/checkpoints/last.ckpt'
    """
    return _PLACEHOLDER.sub(lambda match: str(root / match[1]), text)


def merge(base: Any, over: Any) -> Any:
    """Merge the settings of ``over`` into those of ``base``; another class replaces the one there.

    >>> merge({"trainer": {"max_steps": 5}, "seed": 0}, {"trainer": {"max_steps": 9}})
    {'trainer': {'max_steps': 9}, 'seed': 0}
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "class_path" in over and over["class_path"] != base.get("class_path"):
        return over
    return {**base, **{key: merge(base.get(key), value) for key, value in over.items()}}


def _read_step(
    place: str, name: str, settings: Any, common: Mapping[str, Any], earlier: Mapping[str, Step]
) -> Step:
    if not re.fullmatch(r"\w+", str(name)) or name in GROUPS or name in _EARLY_COMMANDS:
        raise ValueError(
            f"{place}: a name is letters, digits and _, and none of {', '.join(sorted(GROUPS))}"
        )
    if not isinstance(settings, dict) or settings.get("command") not in COMMANDS:
        raise ValueError(f"{place} needs 'command', one of {', '.join(COMMANDS)}")
    command, frame = settings["command"], {"command", "from", "optional"}
    _check_keys(place, settings, _OPTIONS.get(command, GROUPS) | frame)
    own = {key: value for key, value in settings.items() if key not in frame}
    merged = merge(_shared(command, common), own)
    if "from" in settings:
        source = settings["from"]
        trained = source in earlier and earlier[source].command == "fit"
        if not trained or command not in ("validate", "test", "predict"):
            raise ValueError(
                f"{place}: 'from: {source}' takes the model of an earlier fit to validate, test or "
                "predict; a fit starts from another with model.init_from"
            )
        merged["model"] = merge(_trained(earlier[source]), merged.get("model", {}))
        merged.setdefault("ckpt_path", f"{{{source}}}/checkpoints/last.ckpt")
    for text in _strings(merged):
        for reference in _PLACEHOLDER.findall(text):
            if reference not in earlier:
                raise ValueError(
                    f"{place}: {text!r} refers to {reference!r}, which is no earlier step; there "
                    f"are {', '.join(earlier) or 'none'}"
                )
    return Step(str(name), command, merged, optional=bool(settings.get("optional")))


def _shared(command: str, common: Mapping[str, Any]) -> Mapping[str, Any]:
    """Select the settings of all steps that a command takes."""
    if command == "reliability":
        return {}
    if command not in WRITERS:
        return common
    devices = {k: v for k, v in (common.get("trainer") or {}).items() if k in _DEVICES}
    groups = {"data": common.get("data"), "trainer": devices}
    taken = _OPTIONS[command]
    return {key: value for key, value in groups.items() if value and key in taken}


def _trained(step: Step) -> Mapping[str, Any]:
    """Get the model of a fit without the weights it started from: its checkpoint has all."""
    model = step.settings["model"]
    arguments = model.get("init_args", {})
    kept = {key: value for key, value in arguments.items() if key != "init_from"}
    return {**model, "init_args": kept} if arguments else model


def _check_keys(place: str, settings: Any, allowed: frozenset[str]) -> None:
    if not isinstance(settings, dict):
        raise ValueError(f"{place} must be a mapping of settings, not {settings!r}")
    for key in settings:
        if key not in allowed:
            listed = ", ".join(sorted(allowed))
            raise ValueError(f"{place}: unknown key {key!r}; there are {listed}")


def _check_report(path: Path, content: Mapping[str, Any], steps: Mapping[str, Step]) -> None:
    for line, source in (content.get("report") or {}).items():
        step, _, metric = str(source).partition(":")
        if step not in steps or not metric:
            raise ValueError(
                f"{path}: report {line!r} is {source!r}, but must be step:metric with a step of "
                f"{', '.join(steps)}"
            )
    sheet = content.get("sheet") or {}
    for key, step in sheet.items():
        if key not in _SHEET or step not in steps or "images" not in sheet:
            raise ValueError(
                f"{path}: sheet {key!r}: {step!r}; it maps images (needed), cam, pseudo_label and "
                "preds to steps that predict them"
            )


def _override(
    steps: list[Step], raw: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]
) -> Iterator[Step]:
    shared: list[str] = []
    own: dict[str, list[str]] = {step.name: [] for step in steps}
    options = {step.name: _OPTIONS.get(step.command, GROUPS) for step in steps}
    per_step = _PER_STEP.union(*map(_filled, steps))
    for option, *values in option_groups(overrides):
        key = option_key(option)
        head, _, rest = key.partition(".")
        if not option.startswith("--") or (head not in own and head not in GROUPS):
            raise ValueError(
                f"{option} is for no step: options are those of the commands (--data.root ...), "
                f"and with the name of a step in front (--{steps[0].name}.trainer.max_steps 10) "
                f"for that one only; steps are {', '.join(own)}"
            )
        if head in own:
            if rest.partition(".")[0] not in options[head]:
                raise ValueError(f"{option}: {rest!r} is no option of a step's command")
            own[head] += [option.replace(f"--{head}.", "--", 1), *values]
        elif key in per_step or key == "trainer.default_root_dir":
            remedy = "--root chooses the folder" if head == "trainer" else f"give --STEP.{key}"
            raise ValueError(f"{option} cannot be the same for all steps; {remedy}")
        else:
            shared += [option, *values]
    trained = [step for step in steps if step.command not in _OPTIONS]
    methods = [step.settings.get("model", {}).get("class_path") for step in trained]
    fitting = dict(zip([s.name for s in trained], share_options(shared, methods), strict=True))
    for step in steps:
        added = fitting.get(
            step.name, _of_writers(shared, options[step.name]) if step.writes_files else []
        )
        for option, *values in option_groups(own.get(raw[step.name].get("from", ""), [])):
            if option_key(option).partition(".")[0] == "model" and "init_from" not in option:
                added += [option, *values]
        yield replace(step, overrides=(*added, *own[step.name]))


def _of_writers(shared: Sequence[str], taken: frozenset[str]) -> list[str]:
    """Select what a step that writes files takes of the options that all steps share."""
    groups = [(*option_key(group[0]).partition("."), group) for group in option_groups(shared)]
    return [
        token
        for head, _, rest, group in groups
        if head in taken and (head == "data" or rest in _DEVICES)
        for token in group
    ]


def _filled(step: Step) -> set[str]:
    """Find settings that name files of other steps: one value for all steps would undo them."""
    settings = given_settings(["--config", json.dumps(step.settings)])
    return {key for key, setting in settings.items() if _PLACEHOLDER.search(str(setting.value))}


def _strings(value: Any) -> list[str]:
    found: list[str] = []
    _map_strings(value, found.append)
    return found


def _map_strings(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return value
