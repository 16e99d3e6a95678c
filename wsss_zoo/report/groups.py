"""Group runs into experiments: the same method and settings, over seeds."""

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from statistics import fmean

from wsss_zoo.report.runs import Run, shortened
from wsss_zoo.report.settings import Settings, common_settings, comparable, differences, is_numbered

_SHOWN_SETTINGS = 3


@dataclass
class Group:
    """Runs, at least one, that differ in seed and paths only, with their other settings."""

    runs: list[Run]
    settings: Settings = field(default_factory=dict)
    name: str = ""
    #: What else tells it from groups of the same settings: its data, the stages before it.
    inputs: Settings = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Class name of the method."""
        return self.runs[0].method

    @property
    def recipe(self) -> str | None:
        """Name of the pipeline that it is a stage of."""
        return self.runs[0].recipe

    @property
    def class_names(self) -> list[str]:
        """Names by class index; empty if nothing tells."""
        # A list out of a results file is in the order of the data.
        lists = sorted(self.runs, key=lambda run: run.confusion is None)
        return next((run.class_names for run in lists if run.class_names), [])

    def numbers(self, metric: str) -> list[float]:
        """List the final values of the runs that have one."""
        values = (run.number(metric) for run in self.runs)
        return [value for value in values if value is not None]

    def by_seed(self, metric: str) -> dict[int, float]:
        """Map each seed to its final value; the mean where a seed was run more than once."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            value = run.number(metric)
            if value is not None and run.seed is not None:
                found.setdefault(run.seed, []).append(value)
        return {seed: fmean(found[seed]) for seed in sorted(found)}

    def notes(self) -> list[str]:
        """List what to know of the group, apart from the problems of its runs."""
        seeds = Counter(run.seed for run in self.runs if run.finished)
        twice = sorted(seed for seed, count in seeds.items() if seed is not None and count > 1)
        listed = ", ".join(map(str, twice[:6])) + (", …" if len(twice) > 6 else "")
        left = sum(not run.finished for run in self.runs)
        notes = {
            f"more than one run of seed {listed}": twice,
            f"without a seed: {seeds[None]}": seeds[None],
            f"{left} of {len(self.runs)} runs not finished": left,
        }
        return [note for note, applies in notes.items() if applies]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs by method, stage of a pipeline, classes and settings.

    Seeds, folders of the run, paths of inputs and options of later versions do not count. Inputs
    (``init_from``, ``pseudo_label_dir``, ..) and options do where a seed would else occur twice.
    Runs on images of the user's own in folders of other names are apart, and so are stages of
    pipelines of which a stage before has other settings: that makes other inputs.
    """
    split = [comparable(run.settings) for run in runs]
    exact = [json.dumps(pair, sort_keys=True) for pair in split]
    settings = [kept for kept, _ in split]
    # Options of other methods are not missing.
    kinds = [(run.recipe, run.stage, run.method) for run in runs]
    recipes = _recipe_settings(runs, settings)
    roots = [_data_root(run) if run.settings.get("data") == "Folder" else None for run in runs]
    for indices in _split(range(len(runs)), kinds):
        common = common_settings([settings[i] for i in indices])
        for index, kept in zip(indices, common, strict=True):
            settings[index] = kept
    texts = [json.dumps(kept, sort_keys=True) for kept in settings]
    groups = [
        Group([runs[i] for i in part], settings[part[0]])
        for indices in _split(
            range(len(runs)), list(zip(kinds, texts, recipes, roots, strict=True))
        )
        for same in _by_classes(indices, runs)
        for part in _apart(same, runs, exact)
    ]
    for group in groups:
        earlier = recipes[next(i for i, run in enumerate(runs) if run is group.runs[0])]
        group.inputs = {} if earlier is None else dict(earlier)
        root = _data_root(group.runs[0])
        group.inputs |= {} if root is None else {"data.root": root}
    _give_names(groups)
    return groups


def _recipe_settings(
    runs: Sequence[Run], settings: Sequence[Settings]
) -> list[tuple[tuple[str, str], ...] | None]:
    """List the settings of the stages before each stage that are not those of all pipelines."""
    stages: dict[tuple[str | None, str | None], list[int]] = {}
    for index, run in enumerate(runs):
        if run.recipe:
            stages.setdefault((run.recipe, run.stage), []).append(index)
    varied: dict[int, dict[str, str]] = {}
    for (_, stage), indices in stages.items():
        alike = common_settings([settings[i] for i in indices])
        for name, values in differences(alike).items():
            for index, value in zip(indices, values, strict=True):
                if value is not None:
                    varied.setdefault(index, {})[f"{stage}.{name}"] = value
    own = {index: (run.folder.parent, run.place) for index, run in enumerate(runs) if run.recipe}
    found: list[tuple[tuple[str, str], ...] | None] = [None] * len(runs)
    for index, (folder, place) in own.items():
        before = [i for i, (parent, n) in own.items() if parent == folder and n < place]
        earlier = {k: v for i in before for k, v in varied.get(i, {}).items()}
        found[index] = tuple(sorted(earlier.items()))
    return found


def _data_root(run: Run) -> str | None:
    """Name the folder of a run's data by its last part; a copy elsewhere may be called the same."""
    root = run.settings.get("data.root")
    if root is None or root == "null" or root.startswith("<"):
        return None
    return PurePath(root).name


def choose_baseline(groups: Sequence[Group], text: str) -> Group:
    """Find the one group whose name, or that of a run in it or of its method, matches ``text``.

    Raises:
        ValueError: If none or several match; ``text`` may hold ``*``.
    """
    pattern = text.rstrip("/") or text
    for names in (
        [[group.name] for group in groups],
        [[name for run in g.runs for name in (run.name, str(run.folder))] for g in groups],
        [[group.method] for group in groups],
    ):
        chosen = [
            group
            for group, called in zip(groups, names, strict=True)
            if pattern in called or fnmatch.filter(called, pattern)
        ]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            listed = shortened([group.name for group in chosen], 8)
            raise ValueError(f"--baseline {text} may be each of: {listed}; give one of these")
    listed = shortened([group.name for group in groups], 8)
    raise ValueError(f"there is no group {text} to be the baseline; there are: {listed}")


def _split(indices: Iterable[int], keys: Sequence[Hashable]) -> list[list[int]]:
    """Split indices by their keys, in the order in which these come."""
    parts: dict[Hashable, list[int]] = {}
    for index in indices:
        parts.setdefault(keys[index], []).append(index)
    return list(parts.values())


def _by_classes(indices: list[int], runs: Sequence[Run]) -> list[list[int]]:
    """Split runs of a group by their classes; those that stopped before they named any stay."""
    parts: dict[tuple[str, ...], list[int]] = {}
    for index in indices:
        parts.setdefault(tuple(sorted(runs[index].class_names)), []).append(index)
    unknown = parts.pop((), [])
    if not parts:
        return [unknown]
    max(parts.values(), key=len).extend(unknown)
    return [sorted(part) for part in parts.values()]


def _apart(indices: list[int], runs: Sequence[Run], exact: Sequence[str]) -> list[list[int]]:
    """Split runs by all that is known of them if a seed occurs twice, else leave them together."""
    seeds = [runs[i].seed for i in indices if runs[i].seed is not None]
    return [indices] if len(set(seeds)) == len(seeds) else _split(indices, exact)


def _give_names(groups: Sequence[Group]) -> None:
    """Name groups by the folder that their runs share, else by method; add settings to doubles."""
    for group in groups:
        group.name = _folder_name(group.runs) or group.method
        if group.runs[0].stage and group.name == group.method:
            group.name = f"{group.recipe}/{group.runs[0].stage}"
    doubles: dict[str, list[Group]] = {}
    for group in groups:
        doubles.setdefault(group.name, []).append(group)
    for same in doubles.values():
        if len(same) > 1:
            _tell_apart(same)
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group.name] += 1
        if counts[group.name] > 1:
            group.name += f" #{counts[group.name]}"


def _folder_name(runs: Sequence[Run]) -> str:
    """Take the path of the runs without numbers of seeds; "" if it is not the same for all."""
    names = set()
    for run in runs:
        parts = [part for part in run.name.split("/") if not is_numbered(part)]
        if not parts and is_numbered(run.folder.name):
            parent = run.folder.absolute().parent.name
            parts = [] if is_numbered(parent) else [parent]
        names.add("/".join(parts))
    return names.pop() if len(names) == 1 else ""


def _tell_apart(groups: Sequence[Group]) -> None:
    varied = differences([{"method": g.method} | g.settings | g.inputs for g in groups])
    varied.pop("model", None)
    methods_vary = varied.pop("method", None) is not None
    for index, group in enumerate(groups):
        parts = [group.method] if methods_vary else []
        for name, values in varied.items():
            if values[index] is not None:
                parts.append(f"{name.rpartition('.')[2]}={_cut(values[index])}")
        more = f" +{len(parts) - _SHOWN_SETTINGS}" if len(parts) > _SHOWN_SETTINGS else ""
        if parts:
            group.name += f" ({', '.join(parts[:_SHOWN_SETTINGS])}{more})"


def _cut(value: str | None) -> str:
    text = re.sub(r"\s+", " ", value or "")
    return text if len(text) <= 24 else text[:23] + "…"


def seeds_of(groups: Iterable[Group]) -> list[int]:
    """List the seeds of some groups, sorted."""
    return sorted({run.seed for group in groups for run in group.runs if run.seed is not None})


def class_lists(groups: Iterable[Group]) -> Mapping[tuple[str, ...], list[Group]]:
    """Collect groups by their sorted class names; those without any are left out."""
    lists: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        if group.class_names:
            lists.setdefault(tuple(sorted(group.class_names)), []).append(group)
    return lists
