"""Read what a command line and its config files give, before a parser applies its links."""

import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Setting:
    """One setting as the user gave it.

    Args:
        value: The value, as text from the command line, as parsed from a file.
        source: Where it was given, for error messages.
    """

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
    """Name of an option without dashes, value and the ``+`` of appending.

    >>> option_key("--trainer.callbacks+=EarlyStopping")
    'trainer.callbacks'
    """
    key = token.split("=", 1)[0]
    return "config" if key == "-c" else key.removeprefix("--").removesuffix("+")


def share_options(options: Sequence[str], methods: Sequence[str | None]) -> list[list[str]]:
    """Give options to several runs; an option of the model only to methods that have it.

    An option that no method has goes to all: their parser then says so.

    Args:
        options: Options with their values.
        methods: Name or import path of each run's method; None for a run without.

    Returns:
        The options of each run.

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
    """Whether a method's constructor has an argument; assumed of a method that is not found."""
    if method is None:
        return True
    try:
        found = pkgutil.resolve_name(method if "." in method else f"wsss_zoo.methods.{method}")
    except (ImportError, AttributeError, ValueError):
        return True
    return key.partition(".")[0] in constructor_arguments(found)


def constructor_arguments(kind: type) -> set[str]:
    """Names of a class's arguments, with those that ``**kwargs`` hands on to its base classes."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                break
    return names


def class_first(args: Sequence[str], key: str) -> list[str]:
    """Put ``--model CAM`` before the first option of the model, where the parser needs it.

    Left as it is if a config file stands between the two, since the order decides which one counts.

    Args:
        args: Arguments after the name of the command.
        key: ``model`` or ``data``.

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
    """Every setting that a command line gives, itself or through its config files.

    The three spellings ``--model.lr``, ``--model.init_args.lr`` and ``model: {init_args: {lr:
    ..}}`` have one key, ``model.lr``; the class of a module is the key of its group, ``model``.

    Args:
        args: Arguments after the name of the command.

    Returns:
        Settings by key. Where several give the same, the last one counts. A config file that cannot
        be read is itself a setting, ``config``.

    >>> given_settings(["--model", "CAM", "--model.init_args.lr=0.1"])["model.lr"].value
    '0.1'
    """
    settings: dict[str, Setting] = {}
    for option, *values in option_groups(args):
        key = option_key(option)
        text = option.split("=", 1)[1] if "=" in option else (values[0] if values else "")
        # A config may stand on the command line as text, as a file, and a group in a file of its
        # own.
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
        # The parser itself says what is wrong with the file.
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
