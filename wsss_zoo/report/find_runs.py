"""Find the runs in folders and give each a name that no other has."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from wsss_zoo.files.atomic import read_json
from wsss_zoo.report.packed_runs import origin, unpacked
from wsss_zoo.report.runs import CONFIGS, RESULTS, Run, read_run, shortened
from wsss_zoo.runs.folder import METRICS, STARTED

_MARKS = (*CONFIGS, METRICS, STARTED, *(name for name in RESULTS if "/" not in name))
# Folders in a run's folder, with files by the thousand and no runs.
_NOT_WALKED = {"pseudo_labels", "checkpoints", "pictures", "earlier", "wandb", "lightning_logs"}


@dataclass
class Found:
    """Runs in the order of the folders given, damaged ones too, and problems of the folders."""

    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_runs(folders: Sequence[Path]) -> Found:
    """Read all runs in folders, in folders in them, and the stages of pipelines.

    A run is a folder with a configuration, ``metrics.csv`` or a results file. One that is found
    twice counts once. Links to folders are followed where they are given, and where they are the
    stage of a pipeline. A packed family (``<family>.runs.zip``) is read like its folder.

    Raises:
        FileNotFoundError: If one of the folders does not exist.
        ValueError: If there is no run at all.
    """
    found = Found()
    seen: set[Path] = set()
    lengths: list[int] = []
    for folder in chain.from_iterable(map(unpacked, folders)):
        given = origin(folder)
        if not folder.is_dir():
            wrong = f"{given} is no folder" if folder.exists() else f"there is no folder {given}"
            raise FileNotFoundError(f"{wrong}; give folders of runs, as runs/")
        before, twice = len(found.runs), 0
        for run in _runs_in(folder):
            # A stage that two pipelines share by a link is a row of both.
            path = run.folder
            key = path.parent.resolve() / path.name if run.recipe else path.resolve()
            if key in seen:
                twice += 1
                continue
            seen.add(key)
            found.runs.append(run)
            # A stage without the name of its pipeline's folder would say little.
            inside = len(run.folder.relative_to(folder).parts)
            lengths.append(max(inside, 2 if run.recipe else 1))
        if twice:
            many = f"{twice} runs were given before; they count"
            text = many if twice > 1 else "1 run was given before; it counts"
            found.problems.append(f"{given}: {text} once")
        elif len(found.runs) == before:
            found.problems.append(f"{given}: no run in it")
    if not found.runs:
        names = ", ".join(map(str, folders))
        raise ValueError(
            f"there is no run in {names}; a run is a folder with config.yaml or metrics.csv, as "
            "'wsss-zoo fit' and 'wsss-zoo pipeline' make them (runs/)"
        )
    _give_names(found, lengths)
    return found


def _runs_in(folder: Path) -> Iterator[Run]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: _natural(entry.name))
    except OSError:
        return
    names = {entry.name for entry in entries}
    folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    summary = read_json(folder / "summary.json") if "summary.json" in names else {}
    stages = _stages(folder, names, summary.get("steps"))
    for place, stage in enumerate(stages):
        yield _read_stage(folder / stage, place, summary)
    if not stages and names & set(_MARKS):
        yield read_run(folder)
    for entry in folders:
        skipped = entry.name in _NOT_WALKED or entry.name.startswith(".") or entry.name in stages
        if not skipped:
            yield from _runs_in(Path(entry.path))


def _stages(folder: Path, names: set[str], steps: Any) -> list[str]:
    """List the stages of a pipeline's folder in their order; [] if it is none."""
    if isinstance(steps, dict):
        return [name for name in steps if _is_name(name)]
    started = {name: folder / name / STARTED for name in names}
    begun = {name: path.stat().st_mtime for name, path in started.items() if path.is_file()}
    return sorted(begun, key=begun.__getitem__)


def _is_name(name: str) -> bool:
    return name not in ("", "..") and name.isprintable() and Path(name).name == name


def _read_stage(folder: Path, place: int, summary: dict[str, Any]) -> Run:
    """Read a stage, and what the summary of its pipeline says of it."""
    missing = Run(folder, finished=False, problems=["its folder is missing"])
    run = read_run(folder) if folder.is_dir() else missing
    run.stage, run.place = folder.name, place
    run.recipe = str(summary.get("recipe") or _recipe_of(folder) or folder.parent.name)
    steps = summary.get("steps")
    step = steps.get(folder.name) if isinstance(steps, dict) else None
    if isinstance(step, dict):
        if isinstance(step.get("seconds"), int | float):
            run.seconds = float(step["seconds"])
        run.resumed = bool(step.get("resumed"))
        if run.seconds is None and not step.get("taken") and run.finished:
            run.finished = False
            run.problems.append("failed: the pipeline went on without it")
    return run


def _recipe_of(folder: Path) -> str | None:
    """Read the name of the recipe in the first line of a stage's ``step.yaml``."""
    try:
        text = (folder / "step.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    first_line = re.match("(?:# )?(.*?), step ", text)
    return first_line[1] if first_line else None


def _give_names(found: Found, lengths: list[int]) -> None:
    """Name runs by their path in the folder given, longer where two would be called the same."""
    paths = [run.folder.absolute().parts[1:] for run in found.runs]
    ambiguous: list[str] = []
    longer = True
    while longer:
        for run, path, length in zip(found.runs, paths, lengths, strict=True):
            run.name = "/".join(path[-length:])
        counts = Counter(run.name for run in found.runs)
        doubles = [index for index, run in enumerate(found.runs) if counts[run.name] > 1]
        ambiguous = ambiguous or sorted({found.runs[index].name for index in doubles})
        short = [index for index in doubles if lengths[index] < len(paths[index])]
        for index in short:
            lengths[index] += 1
        longer = bool(short)
    if ambiguous:
        listed = shortened(ambiguous, 5)
        found.problems.append(f"runs of the same name are told apart by their folders: {listed}")


def _natural(name: str) -> tuple[str, int]:
    """Sort ``seed10`` behind ``seed9``."""
    word = name.rstrip("0123456789")
    return word, int(name[len(word) :] or -1)
