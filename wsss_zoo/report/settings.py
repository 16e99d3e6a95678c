"""Settings of runs: as flat names and texts, and which of them make an experiment."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

# Where, when and how it was run, drawn and saved, not what was done.
_IRRELEVANT = (
    "ckpt_path", "seed_everything", "data.seed", "data.num_workers", "trainer.default_root_dir",
    "trainer.logger", "trainer.callbacks", "trainer.accelerator", "trainer.enable_",
    "trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.profiler",
    "trainer.check_val_every_n_epoch", "trainer.val_check_interval", "trainer.barebones",
    "trainer.model_registry", "checkpoint.", "labels.out_dir", "labels.overwrite", "visualizer.",
)  # fmt: skip
_PATHS = {"root", "sbd_root", "init_from", "partner_init_from", "pseudo_label_dir", "graph_dir"}
_FILES = (".ckpt", ".pt", ".pth", ".safetensors", ".csv", ".json", ".txt")
# What a configuration of kept results has in place of a path.
_REMOVED = re.compile(r"<[^<>]+>")
_NUMBERED = re.compile(r"(?:(?:seed|version|run)[_-]?)?\d+", re.IGNORECASE)

Settings = dict[str, str]


def flatten(config: Mapping[str, Any]) -> Settings:
    """Map the options of a configuration, by their names on the command line, to text.

    >>> flatten({"model": {"class_path": "wsss_zoo.CAM", "init_args": {"lr": 0.1, "crf": None}}})
    {'model': 'CAM', 'model.lr': '0.1', 'model.crf': 'null'}
    """
    found: Settings = {}
    _flatten(config, "", found)
    return found


def _flatten(value: Any, name: str, found: Settings) -> None:
    if not isinstance(value, Mapping):
        found[name] = value if isinstance(value, str) else json.dumps(value, default=str)
        return
    for key, item in value.items():
        if key == "class_path":
            found[name] = str(item).rsplit(".", 1)[-1]
        elif key == "init_args":
            _flatten(item or {}, name, found)
        else:
            _flatten(item, f"{name}.{key}" if name else str(key), found)


def comparable(settings: Mapping[str, str]) -> tuple[Settings, Settings]:
    """Split settings into those that make an experiment what it is, and paths of its inputs.

    Returns:
        The settings without seeds, folders of the run and matters of the machine; where an option
        is a path, only that it is given. Then the paths, without numbers of seeds and versions.
        Lists of images and weights count by the name of their file.

    >>> comparable({"seed_everything": "1", "model.init_from": "runs/warm/seed1/last.ckpt"})
    ({'model.init_from': '(path)'}, {'model.init_from': 'runs/warm/*/last.ckpt'})
    """
    kept, paths = {}, {}
    for name, value in settings.items():
        if name.startswith(_IRRELEVANT):
            continue
        last = name.rsplit(".", 1)[-1]
        if last == "weights" or last.endswith("_split"):
            kept[name] = PurePath(value).name
        elif value != "null" and (last in _PATHS or _looks_like_path(value)):
            kept[name] = "(path)"
            parts = PurePath(value).parts
            paths[name] = "/".join("*" if is_numbered(part) else part for part in parts)
        else:
            kept[name] = value
    return kept, paths


def is_numbered(part: str) -> bool:
    """Tell whether a folder's name numbers a repetition: ``seed0``, ``version_3``, ``12``."""
    return _NUMBERED.fullmatch(part) is not None


def common_settings(all_settings: Iterable[Settings]) -> list[Settings]:
    """Leave out options that only some runs have and on which these agree.

    A later version has more options. One at its default must not split the seeds of an experiment.
    """
    listed = list(all_settings)
    # Of these, runs that have the option agree on its value.
    late = {name for name, values in differences(listed).items() if len({*values} - {None}) == 1}
    return [{k: v for k, v in settings.items() if k not in late} for settings in listed]


def differences(all_settings: Iterable[Settings]) -> dict[str, list[str | None]]:
    """Find the options that are not the same everywhere, with all values; None where missing.

    >>> differences([{"a": "1", "b": "2"}, {"a": "1"}])
    {'b': ['2', None]}
    """
    listed = list(all_settings)
    names = dict.fromkeys(name for settings in listed for name in settings)
    table = {name: [settings.get(name) for settings in listed] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def _looks_like_path(value: str) -> bool:
    if value.startswith(("[", "{")):
        return False
    return "/" in value or "\\" in value or value.endswith(_FILES) or bool(_REMOVED.match(value))
