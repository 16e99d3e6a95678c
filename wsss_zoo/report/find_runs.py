"""Find the runs in folders and give each a name that no other has."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

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
    """Read the runs in a folder and in folders in it, sorted by path."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: _natural(entry.name))
    except OSError:
        return
    names = {entry.name for entry in entries}
    folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    stages = _stages(folder, names)
    for place, stage in enumerate(stages):
        if (folder / stage).is_dir():
            run = read_run(folder / stage)
        else:
            run = Run(folder / stage, finished=False, problems=["its folder is missing"])
        yield _as_stage(run, folder, stage, place)
    if not stages and names & set(_MARKS):
        yield read_run(folder)
    for entry in folders:
        skipped = entry.name in _NOT_WALKED or entry.name.startswith(".") or entry.name in stages
        if not skipped:
            yield from _runs_in(Path(entry.path))


def _stages(folder: Path, names: set[str]) -> list[str]:
    """List the stages of a pipeline's folder in their order; [] if it is none."""
    steps = read_json(folder / "summary.json").get("steps") if "summary.json" in names else None
    if isinstance(steps, dict):
        return [name for name in steps if _is_name(name)]
    started = {name: folder / name / STARTED for name in names}
    begun = {name: path.stat().st_mtime for name, path in started.items() if path.is_file()}
    return sorted(begun, key=begun.__getitem__)


def _is_name(name: str) -> bool:
    return name not in ("", "..") and name.isprintable() and Path(name).name == name


def _as_stage(run: Run, folder: Path, stage: str, place: int) -> Run:
    """Add to a run what the folder of its pipeline says."""
    summary = read_json(folder / "summary.json")
    run.stage, run.place = stage, place
    run.recipe = str(summary.get("recipe") or _recipe_of(run.folder) or folder.name)
    steps = summary.get("steps")
    step = steps.get(stage) if isinstance(steps, dict) else None
    if isinstance(step, dict):
        if isinstance(step.get("seconds"), int | float):
            run.seconds = float(step["seconds"])
        run.resumed = bool(step.get("resumed"))
        if run.seconds is None and not step.get("taken") and run.finished:
            run.finished = False
            run.problems.append("failed: the pipeline went on without it")
    return run


def _recipe_of(folder: Path) -> str | None:
    """Name of the recipe in the first line of a stage's ``step.yaml``."""
    try:
        with (folder / "step.yaml").open(encoding="utf-8", errors="replace") as file:
            line = file.readline()
    except OSError:
        return None
    name, comma, _ = line.removeprefix("# ").partition(", step ")
    return name if comma else None


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
        longer = False
        for index in doubles:
            if lengths[index] < len(paths[index]):
                lengths[index] += 1
                longer = True
    if ambiguous:
        listed = shortened(ambiguous, 5)
        found.problems.append(f"runs of the same name are told apart by their folders: {listed}")


def _natural(name: str) -> tuple[str, int]:
    """Sort ``seed10`` behind ``seed9``."""
    word = name.rstrip("0123456789")
    return word, int(name[len(word) :] or -1)
