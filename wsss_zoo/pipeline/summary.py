"""Summarize a finished pipeline: numbers, times, a sheet of pictures."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsss_zoo.files.atomic import read_json, write_atomic
from wsss_zoo.pipeline.recipe import Recipe
from wsss_zoo.pipeline.sheet import draw_step_sheet
from wsss_zoo.runs.folder import DONE

SUMMARY, SHEET = "summary.json", "sheet.png"
# Files of a step that hold measured numbers.
_RESULTS = (
    "val_results.json", "test_results.json", "pseudo_labels/quality.json", "noise/threshold.json",
    "graphs/quality.json", "reliability.json",
)  # fmt: skip


def report(recipe: Recipe, root: Path, console: Console, *, changed: bool) -> None:
    """Write ``summary.json`` and ``sheet.png`` where they are missing or old; print the numbers.

    The recipe may ask for other numbers of the same steps, so the summary is always compared.

    Args:
        recipe: The recipe, all of whose steps are finished.
        root: Folder of the steps' folders.
        console: Console to print on.
        changed: Whether a step was run since the files were written.
    """
    summary, sheet = root / SUMMARY, root / SHEET
    if changed:
        # An older sheet beside newer numbers would be a lie, if this is interrupted.
        summary.unlink(missing_ok=True)
        sheet.unlink(missing_ok=True)
    if recipe.sheet and not sheet.exists():
        draw_step_sheet(recipe, root, sheet)
    results = summarize(recipe, root)
    content = json.dumps(results, indent=1) + "\n"
    if not summary.exists() or summary.read_text(encoding="utf-8") != content:
        write_atomic(summary, content)
    if results["report"]:
        console.print(_numbers(recipe, results))
    console.print(_times(results))
    console.print(f"numbers: {summary}", markup=False)
    if sheet.exists():
        console.print(f"pictures: {sheet}", markup=False)


def summarize(recipe: Recipe, root: Path) -> dict[str, Any]:
    """Collect the numbers of the recipe's report, and wall time and all metrics of each step.

    A number is None where a step did not measure it: a user's images may have no masks.
    """
    metrics = {step.name: step_metrics(root / step.name) for step in recipe.steps}
    chosen = {}
    for line, source in recipe.report.items():
        name, _, metric = source.partition(":")
        chosen[line] = metrics[name].get(metric)
    steps = {}
    for step in recipe.steps:
        # Optional steps may have failed.
        done = read_json(root / step.name / DONE)
        taken = (root / step.name).is_symlink()
        steps[step.name] = {
            "command": step.command,
            "seconds": None if taken else done.get("seconds"),
            "resumed": done.get("resumed", False),
            "taken": taken,
            "metrics": metrics[step.name],
        }
    return {"recipe": recipe.name, "report": chosen, "steps": steps}


def step_metrics(folder: Path) -> dict[str, float]:
    """Read the numbers that a step measured, by their logged names."""
    metrics: dict[str, float] = {}
    for name in _RESULTS:
        if (folder / name).exists():
            metrics |= json.loads((folder / name).read_text(encoding="utf-8"))["metrics"]
    return metrics


def _numbers(recipe: Recipe, results: dict[str, Any]) -> Table:
    table = Table(title=Text(f"{recipe.name}: results"), title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for line, value in results["report"].items():
        table.add_row(Text(line), "not measured" if value is None else f"{value:.4f}")
    return table


def _times(results: dict[str, Any]) -> Table:
    table = Table(title="wall time", title_justify="left")
    table.add_column("step")
    table.add_column("command")
    table.add_column("seconds", justify="right")
    for name, step in results["steps"].items():
        resumed = " (resumed)" if step["resumed"] else ""
        unknown = "taken" if step["taken"] else "failed"
        seconds = unknown if step["seconds"] is None else f"{step['seconds']:.1f}"
        table.add_row(name, step["command"] + resumed, seconds)
    total = sum(step["seconds"] or 0 for step in results["steps"].values())
    table.add_section()
    table.add_row("all", "", f"{total:.1f}", style="bold")
    return table
