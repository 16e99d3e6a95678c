"""Read the settings of a command line and its config files, before a parser links them."""

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Setting(NamedTuple):
    """One setting as the user gave it: text or a file's value, and its place for messages."""

    value: Any
    source: str


def option_groups(args: Sequence[str]) -> list[list[str]]:
    """Split arguments into options, each with the values that follow it.

    >>> option_groups(["--data", "VOC2012", "--model.lr=0.1", "--verbose"])
    [['--data', 'VOC2012'], ['--model.lr=0.1'], ['--verbose']]
    """
    groups: list[list[str]] = []
    for token in args:
        if token.startswith("--") or token == "-c" or not groups:
            groups.append([token])
        else:
            groups[-1].append(token)
    return groups


def option_key(token: str) -> str:
    """Strip an option of its dashes, value and the ``+`` of appending.

    >>> option_key("--trainer.callbacks+=EarlyStopping")
    'trainer.callbacks'
    """
    key = token.split("=", 1)[0]
    return "config" if key == "-c" else key.removeprefix("--").removesuffix("+")


def share_options(options: Sequence[str], methods: Sequence[str | None]) -> list[list[str]]:
    """Distribute options to several runs; those of the model only to methods that have them.

    An option that no method has goes to all, so that their parser rejects it. ``methods`` has the
    name or import path of each run's method; None for a run without.

    >>> share_options(["--model.weights", "w.pth", "--data", "VOC2012"], ["CAM", "GATCorrector"])
    [['--model.weights', 'w.pth', '--data', 'VOC2012'], ['--data', 'VOC2012']]
    """
    given: list[list[str]] = [[] for _ in methods]
    for group in option_groups(options):
        head, _, rest = _canonical_key(option_key(group[0])).partition(".")
        has = [head != "model" or not rest or _has_argument(name, rest) for name in methods]
        for run, fits in zip(given, has, strict=True):
            run += group if fits or not any(has) else []
    return given


def _has_argument(method: str | None, key: str) -> bool:
    """Tell whether a method has an option; assumed of a method that is not found."""
    if method is None:
        return True
    try:
        found = pkgutil.resolve_name(method if "." in method else f"wsss_zoo.methods.{method}")
    except (ImportError, AttributeError, ValueError):
        return True
    return not hasattr(found, "option_types") or key.partition(".")[0] in found.option_types()


def class_first(args: Sequence[str], key: str) -> list[str]:
    """Move ``--model CAM`` before the first option of the model, as the parser requires.

    A config file between the two prevents it: the order decides which value counts.

    >>> class_first(["--model.lr", "1", "--data", "Shapes", "--model", "CAM"], "model")
    ['--model', 'CAM', '--model.lr', '1', '--data', 'Shapes']
    """
    groups = option_groups(args)
    keys = [option_key(group[0]) for group in groups]
    first = next((i for i, name in enumerate(keys) if name.startswith(f"{key}.")), len(keys))
    chosen = keys.index(key) if key in keys else -1
    if first < chosen and "config" not in keys[:chosen]:
        groups.insert(first, groups.pop(chosen))
    return [token for group in groups for token in group]


def given_settings(args: Sequence[str]) -> dict[str, Setting]:
    """Collect the settings of a command line and of its config files, by key.

    The spellings ``--model.lr``, ``--model.init_args.lr`` and ``model: {init_args: {lr: ..}}`` have
    the key ``model.lr``. The class of a module has the key of its group, ``model``. The last of
    several equal keys counts. A config file that cannot be read is a setting ``config``.

    >>> given_settings(["--model", "CAM", "--model.init_args.lr=0.1"])["model.lr"].value
    '0.1'
    """
    settings: dict[str, Setting] = {}
    for option, *values in option_groups(args):
        key = option_key(option)
        text = option.split("=", 1)[1] if "=" in option else (values[0] if values else "")
        # A config may be text or a file; so may a whole group.
        content = _read_mapping(text) if key == "config" or "." not in key else None
        if content is None:
            settings[_canonical_key(key)] = Setting(text, option.split("=", 1)[0])
        else:
            place = f"{text}:" if len(text) < 200 else option
            for path, value in _flatten(content, "" if key == "config" else key):
                settings[_canonical_key(path)] = Setting(value, f"{place} {path}")
    return settings


def _read_mapping(text: str) -> Mapping[str, Any] | None:
    try:
        path = Path(text)
        if path.suffix in {".yaml", ".yml", ".json"} and path.is_file():
            text = path.read_text(encoding="utf-8")
        elif not text.lstrip().startswith("{"):
            return None
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        # The parser reports the problem with the file.
        return None
    return content if isinstance(content, Mapping) else None


def _flatten(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, path)
        else:
            yield path, value


def _canonical_key(path: str) -> str:
    parts = [part for part in path.split(".") if part not in {"init_args", "dict_kwargs"}]
    return ".".join(parts[:-1] if parts[-1] == "class_path" else parts)
