"""Tables of a comparison: on the terminal, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsss_zoo.report.comparison import Comparison, Row, is_share, shown
from wsss_zoo.report.groups import seeds_of
from wsss_zoo.report.packed_runs import origin
from wsss_zoo.report.runs import Run
from wsss_zoo.report.statistics import Estimate, estimate

_SHOWN_PROBLEMS = 20
_NONE = "-"  # in place of a mean
# Columns of a terminal that the name of a group gets before numbers are left out.
_NAME_WIDTH = 24
# Attributes of a run that stand in the JSON as they are.
_OF_RUN = ("method", "recipe", "stage", "seed", "finished", "seconds", "problems", "metrics")


def print_comparison(comparison: Comparison, console: Console, rows: int = 60) -> None:
    """Print the first ``rows`` rows of the table, and below it what is wrong with runs."""
    shown_rows = [row for row in comparison.rows[:rows] if not comparison.is_folded(row)]
    folded = [row.group.name for row in comparison.rows[:rows] if comparison.is_folded(row)]
    numbers = comparison.footnotes()
    notes = [" ".join(str(numbers[note]) for note in row.notes) for row in shown_rows]
    header = _header(comparison)[:-1]
    cells = [_cells(comparison, row)[:-1] for row in shown_rows]
    # Numbers of folded stages alone would be empty columns.
    first = 3 if comparison.baseline is None else 4
    some = [n for n in range(len(header)) if n < first or any(row[n] != _NONE for row in cells)]
    empty = [name for n, name in enumerate(header) if n not in some]
    header, cells = [header[n] for n in some], [[row[n] for n in some] for row in cells]
    fitting = _fitting(header, cells, console.width - (6 if any(notes) else 0))
    # Names and notes are the user's: as Text, no bracket of theirs is markup.
    table = Table()
    table.add_column("group", overflow="fold")
    for name in header[1:fitting]:
        # A number that is broken up cannot be read.
        table.add_column(_text(_broken(name)), justify="right", no_wrap=True)
    if any(notes):
        table.add_column("note", no_wrap=True)
    for row, values, note in zip(shown_rows, cells, notes, strict=True):
        style = "bold" if row.group is comparison.baseline else ""
        line = [*values[:fitting], *([note] if any(notes) else [])]
        table.add_row(*map(_text, line), style=style)
    console.print(table)
    used = {note for row in shown_rows for note in row.notes}
    for note in filter(used.__contains__, numbers):
        console.print(_text(f"{numbers[note]}: {note}", "dim"))
    if empty:
        console.print(_text(f"left out, as no row here has them: {', '.join(empty)}", "dim"))
    if fitting < len(header):
        left_out = ", ".join(header[fitting:])
        console.print(_text(f"left out, as the terminal is narrow: {left_out}", "dim"))
    if folded:
        text = f"stages without {comparison.metric}: {', '.join(folded)}"
        console.print(_text(text, "dim"), soft_wrap=True)
    if len(comparison.rows) > rows:
        console.print(f"and {len(comparison.rows) - rows} more groups; all are in the files")
    console.print(_text(caption(comparison), "dim"))
    problems = [*comparison.problems, *comparison.problems_of_runs()]
    for problem in problems[:_SHOWN_PROBLEMS]:
        console.print(_text(f"! {problem}", "yellow"), soft_wrap=True)
    if len(problems) > _SHOWN_PROBLEMS:
        console.print(f"and {len(problems) - _SHOWN_PROBLEMS} more; all are in the files")


def _fitting(header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> int:
    """Count the columns that fit beside a readable name; at least that of the first number."""
    names = [len(row[0]) for row in cells]
    left = width - 4 - min(max(names, default=0), _NAME_WIDTH)
    for place, name in enumerate(header[1:], 1):
        widest = max(map(len, _broken(name).split("\n")))
        left -= 3 + max([widest, *(len(row[place]) for row in cells)])
        if left < 0 and place > 2:
            return place
    return len(header)


def _broken(name: str) -> str:
    """Break the name of a metric where its words meet."""
    return name.replace("/", "/\n")


def _text(text: str, style: str = "") -> Text:
    """Replace what would steer the terminal."""
    return Text(
        "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text),
        style,
    )


def caption(comparison: Comparison) -> str:
    """Say what the numbers of a table are."""
    text = "mean ± standard deviation over runs"
    if any(map(is_share, comparison.metrics)):
        text = f"shares in percent; {text}"
    if comparison.baseline is not None:
        interval = f"the {100 * comparison.confidence:g} % t interval of its mean"
        text += f"; difference to {comparison.baseline.name} by seed, with {interval}"
    return text


def markdown_table(comparison: Comparison, *, by_seed: bool = False) -> str:
    """Write the table as Markdown; ``by_seed`` has a column for each seed, of the first metric."""
    if not by_seed:
        return _markdown(_header(comparison), [_cells(comparison, row) for row in comparison.rows])
    seeds = seeds_of(comparison.groups)
    metric, *others = comparison.metrics
    header = ["", *(f"seed {seed}" for seed in seeds), "mean ± sd"]
    noted = ["notes"] if any(row.notes for row in comparison.rows) else []
    if comparison.baseline is not None:
        percent = f"{100 * comparison.confidence:g} % interval"
        header += [f"over {comparison.baseline.name}", percent]
    lines = []
    for row in comparison.rows:
        values = row.group.by_seed(metric)
        cells = [shown(values[seed], metric) if seed in values else "" for seed in seeds]
        lines.append([row.group.name, *cells, _mean(row.cells[metric], metric)])
        if comparison.baseline is not None:
            lines[-1] += [_mean(row.delta, metric, signed=True), _interval(row.delta, metric)]
        lines[-1] += [_mean(row.cells[other], other) for other in others]
        lines[-1] += ["; ".join(row.notes)] if noted else []
    return _markdown([*header, *others, *noted], lines)


def pipeline_table(
    summaries: dict[int, dict[str, Any]], runs: Sequence[Run], metrics: Sequence[str] = ()
) -> str:
    """Write numbers and wall times of one recipe as Markdown, a column for each seed.

    Args:
        summaries: ``summary.json`` of each seed's pipeline.
        runs: Stages of all these pipelines.
        metrics: More rows, each ``stage:metric``.

    A stage whose time no pipeline measured has no row of seconds. A sum is that of all stages.
    """
    seeds, first = sorted(summaries), next(iter(summaries.values()))
    reports = [summaries[seed]["report"] for seed in seeds]
    lines = [_measure(name, [r.get(name) for r in reports], ".3f") for name in first["report"]]
    for entry in metrics:
        stage, _, metric = entry.partition(":")
        of_seed = {run.seed: run.number(metric) for run in runs if run.stage == stage}
        lines.append(_measure(entry, [of_seed.get(seed) for seed in seeds], ".3f"))
    measured: dict[str, list[float | None]] = {}
    for stage in first["steps"]:
        of_stage = {run.seed: run for run in runs if run.stage == stage}
        resumed = " (resumed)" if any(run.resumed for run in of_stage.values()) else ""
        seconds = [of_stage[seed].seconds if seed in of_stage else None for seed in seeds]
        measured[f"{stage}, s{resumed}"] = seconds
    measured["all steps, s"] = [_sum(of_seed) for of_seed in zip(*measured.values(), strict=True)]
    for name, seconds in measured.items():
        if seconds.count(None) < len(seconds):
            lines.append(_measure(name, seconds, ".0f"))
    return _markdown(["measure", *(f"seed {seed}" for seed in seeds), "mean ± sd"], lines)


def csv_text(comparison: Comparison) -> str:
    """Write the table as CSV: a line for each group, numbers in full, shares in [0, 1]."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    header = ["group", "method", "recipe", "stage", "runs", "seeds"]
    for metric in comparison.metrics:
        header += [f"{metric} mean", f"{metric} sd", f"{metric} runs"]
    header += [f"difference {part}" for part in ("mean", "sd", "low", "high", "seeds")]
    writer.writerow([*header, "notes"])
    for row in comparison.rows:
        group, delta = row.group, row.delta
        seeds = " ".join(map(str, seeds_of([group])))
        cells: list[Any] = [group.name, group.method, group.recipe, group.runs[0].stage]
        cells += [len(group.runs), seeds]
        for cell in row.cells.values():
            cells += [cell.mean, cell.spread, cell.count] if cell else ["", "", 0]
        parts = ("mean", "spread", "low", "high", "count")
        cells += [getattr(delta, part) for part in parts] if delta else [""] * 5
        writer.writerow([*cells, "; ".join(row.notes)])
    return text.getvalue()


def json_text(comparison: Comparison) -> str:
    """Write groups with their statistics, runs with all their numbers and problems as JSON."""
    group_of = {id(run): row.group.name for row in comparison.rows for run in row.group.runs}
    runs = [
        {"name": run.name, "folder": str(origin(run.folder)), "group": group_of[id(run)]}
        | {name: getattr(run, name) for name in _OF_RUN}
        for run in comparison.runs
    ]
    content = {
        "metrics": comparison.metrics,
        "baseline": comparison.baseline.name if comparison.baseline else None,
        "confidence": comparison.confidence,
        "groups": [_group_json(row) for row in comparison.rows],
        "runs": runs,
        "problems": comparison.problems,
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _group_json(row: Row) -> dict[str, Any]:
    group = row.group
    return {
        "name": group.name,
        "method": group.method,
        "recipe": group.recipe,
        "stage": group.runs[0].stage,
        "runs": [run.name for run in group.runs],
        "seeds": seeds_of([group]),
        "class_names": group.class_names,
        "settings": group.settings,
        "metrics": {name: vars(cell) if cell else None for name, cell in row.cells.items()},
        "difference": vars(row.delta) if row.delta else None,
        "notes": row.notes,
    }


def _header(comparison: Comparison) -> list[str]:
    header = ["group", "runs", *comparison.metrics]
    if comparison.baseline is not None:
        header.insert(3, "difference")
    return [*header, "notes"]


def _cells(comparison: Comparison, row: Row) -> list[str]:
    metric, *others = comparison.metrics
    cells = [row.group.name, str(len(row.group.runs)), _mean(row.cells[metric], metric)]
    if comparison.baseline is not None:
        baseline = row.group is comparison.baseline
        cells.append("baseline" if baseline else _difference(row.delta, metric))
    cells += [_mean(row.cells[other], other) for other in others]
    return [*cells, "; ".join(row.notes)]


def _mean(cell: Estimate | None, metric: str, *, signed: bool = False) -> str:
    """Show a mean and its standard deviation; a difference (signed) says where it has none."""
    if cell is None:
        return "" if signed else _NONE
    spread = " (1 seed)" if signed else ""
    if cell.spread is not None:
        spread = f" ± {shown(cell.spread, metric)}"
    return shown(cell.mean, metric, signed=signed) + spread


def _difference(delta: Estimate | None, metric: str) -> str:
    if delta is None:
        return ""
    return f"{shown(delta.mean, metric, signed=True)} {_interval(delta, metric) or '(1 seed)'}"


def _interval(delta: Estimate | None, metric: str) -> str:
    if delta is None or delta.low is None or delta.high is None:
        return ""
    ends = (shown(end, metric, signed=True) for end in (delta.low, delta.high))
    return f"[{', '.join(ends)}]"


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _measure(name: str, values: Sequence[float | None], form: str) -> list[str]:
    cells = ["" if value is None else f"{value:{form}}" for value in values]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return [name, *cells, ""]
    found = estimate(known)
    spread = "" if found.spread is None else f" ± {found.spread:{form}}"
    return [name, *cells, f"{found.mean:{form}}{spread}"]


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        # A bar would end the cell, a line break the row, and angle brackets would be HTML.
        safe = (" ".join(c.split()).replace("|", "\\|").replace("<", "&lt;") for c in cells)
        return f"| {' | '.join(safe)} |"

    return "\n".join([line(header), "| --- " * len(header) + "|", *map(line, lines)])
