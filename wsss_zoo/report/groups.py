"""Group runs into experiments: the same method and settings, over seeds."""

import fnmatch
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wsss_zoo.report.runs import Run
from wsss_zoo.report.settings import (
    Settings,
    common_settings,
    comparable,
    differences,
    is_numbered,
)

_SHOWN_SETTINGS = 3


@dataclass
class Group:
    """Runs, at least one, that differ in nothing but seed and paths; their other settings.

    Its name tells it from all other groups.
    """

    runs: list[Run]
    settings: Settings = field(default_factory=dict)
    name: str = ""

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
        """Final values of the runs that have one."""
        values = (run.number(metric) for run in self.runs)
        return [value for value in values if value is not None]

    def by_seed(self, metric: str) -> dict[int, float]:
        """Final value for each seed; the mean where a seed was run more than once."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            value = run.number(metric)
            if value is not None and run.seed is not None:
                found.setdefault(run.seed, []).append(value)
        return {seed: math.fsum(found[seed]) / len(found[seed]) for seed in sorted(found)}

    def notes(self) -> list[str]:
        """What to know of it, apart from the problems of its runs."""
        seeds = Counter(run.seed for run in self.runs if run.finished)
        unknown = seeds.pop(None, 0)
        twice = sorted(seed for seed, count in seeds.items() if seed is not None and count > 1)
        notes = []
        if twice:
            listed = ", ".join(map(str, twice[:6])) + (", …" if len(twice) > 6 else "")
            notes.append(f"more than one run of seed {listed}")
        if unknown:
            notes.append(f"without a seed: {unknown}")
        left = sum(not run.finished for run in self.runs)
        if left:
            notes.append(f"{left} of {len(self.runs)} runs not finished")
        return notes


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group runs by method, stage of a pipeline, classes and settings.

    Not by seeds, folders of the run and paths of inputs, nor by options that only later versions
    know. Only where a seed would then occur twice, runs with other inputs (``init_from``,
    ``pseudo_label_dir``, ..) or options are groups of their own.
    """
    split = [comparable(run.settings) for run in runs]
    exact = [json.dumps(pair, sort_keys=True) for pair in split]
    settings = [kept for kept, _ in split]
    # Options of other methods are not missing.
    by_method: dict[object, list[int]] = {}
    for index, run in enumerate(runs):
        by_method.setdefault((run.recipe, run.stage, run.method), []).append(index)
    for indices in by_method.values():
        for index, kept in zip(
            indices, common_settings([settings[i] for i in indices]), strict=True
        ):
            settings[index] = kept
    keyed: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        content = [run.recipe, run.stage, run.method, settings[index]]
        keyed.setdefault(json.dumps(content, sort_keys=True), []).append(index)
    groups = [
        Group([runs[i] for i in part], settings[part[0]])
        for indices in keyed.values()
        for same in _by_classes(indices, runs)
        for part in _apart(same, runs, exact)
    ]
    _give_names(groups)
    return groups


def choose_baseline(groups: Sequence[Group], text: str) -> Group:
    """The group that a user means.

    Args:
        groups: All groups.
        text: Name of a group, of a run in it or of its method; may hold ``*``.

    Raises:
        ValueError: If it is none of them, or several groups.
    """
    tests: tuple[Callable[[Group], list[str]], ...] = (
        lambda group: [group.name],
        lambda group: [run.name for run in group.runs] + [str(run.folder) for run in group.runs],
        lambda group: [group.method],
    )
    pattern = text.rstrip("/") or text
    for names in tests:
        chosen = [g for g in groups if any(_is_called(name, pattern) for name in names(g))]
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            listed = ", ".join(group.name for group in chosen[:8])
            raise ValueError(f"--baseline {text} may be each of: {listed}; give one of these")
    listed = ", ".join(group.name for group in groups[:8])
    more = f" and {len(groups) - 8} more" if len(groups) > 8 else ""
    raise ValueError(f"there is no group {text} to be the baseline; there are: {listed}{more}")


def _is_called(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _by_classes(indices: list[int], runs: Sequence[Run]) -> Iterable[list[int]]:
    """Split runs of a group by their classes; those that stopped before they named any stay."""
    parts: dict[tuple[str, ...], list[int]] = {}
    for index in indices:
        parts.setdefault(tuple(sorted(runs[index].class_names)), []).append(index)
    unknown = parts.pop((), [])
    if not parts:
        return [unknown]
    max(parts.values(), key=len).extend(unknown)
    return [sorted(part) for part in parts.values()]


def _apart(indices: list[int], runs: Sequence[Run], exact: Sequence[str]) -> Iterable[list[int]]:
    """Split runs by all that is known of them if a seed occurs twice, else leave them together."""
    seeds = Counter(runs[i].seed for i in indices if runs[i].seed is not None)
    if max(seeds.values(), default=1) == 1:
        return [indices]
    parts: dict[str, list[int]] = {}
    for index in indices:
        parts.setdefault(exact[index], []).append(index)
    return parts.values()


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
    """Path of the runs without numbers of seeds; "" if it is not the same for all."""
    names = set()
    for run in runs:
        parts = [part for part in run.name.split("/") if not is_numbered(part)]
        if not parts and is_numbered(run.folder.name):
            parent = run.folder.absolute().parent.name
            parts = [] if is_numbered(parent) else [parent]
        names.add("/".join(parts))
    return names.pop() if len(names) == 1 else ""


def _tell_apart(groups: Sequence[Group]) -> None:
    """Add to the groups' names what they differ in."""
    varied = differences([{"method": g.method} | g.settings for g in groups])
    varied.pop("model", None)
    for index, group in enumerate(groups):
        parts = [
            f"{_short(name)}={_cut(values[index])}"
            for name, values in varied.items()
            if values[index] is not None and name != "method"
        ]
        if "method" in varied:
            parts.insert(0, group.method)
        more = f" +{len(parts) - _SHOWN_SETTINGS}" if len(parts) > _SHOWN_SETTINGS else ""
        if parts:
            group.name += f" ({', '.join(parts[:_SHOWN_SETTINGS])}{more})"


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _cut(value: str | None) -> str:
    text = re.sub(r"\s+", " ", value or "")
    return text if len(text) <= 24 else text[:23] + "…"


def seeds_of(groups: Iterable[Group]) -> list[int]:
    """All seeds of some groups, sorted."""
    return sorted({run.seed for group in groups for run in group.runs if run.seed is not None})


def class_lists(groups: Iterable[Group]) -> Mapping[tuple[str, ...], list[Group]]:
    """Groups by their class names, as a set; those without any are left out."""
    lists: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        if group.class_names:
            lists.setdefault(tuple(sorted(group.class_names)), []).append(group)
    return lists
