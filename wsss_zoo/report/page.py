"""The page: one HTML file with everything in it, that asks nothing of the network."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from wsss_zoo.report.classes import class_bars, confusions
from wsss_zoo.report.comparison import Comparison, is_share, shown
from wsss_zoo.report.curves import curve_metrics, panel
from wsss_zoo.report.examples import Examples
from wsss_zoo.report.page_examples import examples_section
from wsss_zoo.report.page_table import main_table
from wsss_zoo.report.settings import differences
from wsss_zoo.report.tables import caption

# Colours that people tell apart, also without red or green; more would not be.
_COLORS = 8
_SHOWN_PROBLEMS = 100
_OPEN_RUNS = 12
_SETTINGS, _NAMES = 60, 6


def page(comparison: Comparison, examples: Examples, command: str = "") -> str:
    """The comparison as one self-contained HTML page.

    Args:
        comparison: What to show.
        examples: Pictures.
        command: Command line that made the page.

    All that comes from runs is escaped; a content security policy lets nothing run but the page's
    own script, and nothing load but what the page holds.
    """
    colored = colored_places(comparison)
    sections = {
        "Results": main_table(comparison, colored),
        "Learning curves": _curves(comparison, colored),
        "Classes": class_bars(comparison, colored),
        "Confusion": _confusion(comparison, colored),
        "Images": examples_section(comparison, examples, colored),
        "Settings": _settings(comparison),
        "Runs": _runs(comparison),
    }
    empty = {
        "Learning curves": "No run has a metric of more than one step.",
        "Classes": "No run has numbers by class.",
        "Confusion": "No run has a confusion matrix; validate and test of a segmenter write one.",
        "Settings": "All groups have the same settings, or there is only one.",
    }
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{title}</h2>'
        f"{content or f'<p>{empty[title]}</p>'}</section>"
        for title, content in sections.items()
    )
    nav = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    runs, groups = len(comparison.runs), len(comparison.rows)
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    made = f"<p>Made by <code>{escape(command)}</code></p>" if command else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{runs} runs compared</title><style>{_resource('page.css')}</style></head><body>"
        f"<header><h1>{_count(runs, 'run')} in {_count(groups, 'group')}</h1>"
        f"<p>{escape(_subtitle(comparison))}</p><nav>{nav}</nav></header>{_problems(comparison)}"
        f"<main>{body}</main><footer>{made}<p>{_FOOTER}</p></footer>"
        f"<script>{script}</script></body></html>\n"
    )


_FOOTER = (
    "A group is the runs that differ in nothing but seed and paths. The number of a run is that of "
    "its validate or test, else the last of its training, never the best; train/ numbers are means "
    "over the last 100 steps. Unfinished runs do not count. An interval is Student's t for the mean "
    "of the differences between runs of the same seed."
)


def colored_places(comparison: Comparison) -> list[int]:
    """Places of the groups that get a colour: the baseline the first one, then the first groups."""
    places = [
        place
        for place, group in enumerate(comparison.groups)
        if any(run.metrics or run.curves for run in group.runs)
    ]
    return places[:_COLORS]


def _resource(name: str) -> str:
    return files("wsss_zoo.report").joinpath(name).read_text(encoding="utf-8")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _subtitle(comparison: Comparison) -> str:
    unit = ", %" if is_share(comparison.metric) else ""
    text = f"{comparison.metric}{unit}: {caption(comparison).removeprefix('shares in percent; ')}."
    return text


def _problems(comparison: Comparison) -> str:
    lines = [*comparison.problems, *comparison.problems_of_runs()]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:_SHOWN_PROBLEMS])
    if len(lines) > _SHOWN_PROBLEMS:
        items += f"<li>and {len(lines) - _SHOWN_PROBLEMS} more, at the runs below</li>"
    opened = " open" if len(lines) <= 8 else ""
    return (
        f'<details class="warn"{opened}><summary><b>{_count(len(lines), "thing")} to know</b>'
        f"</summary><ul>{items}</ul></details>"
    )


def _curves(comparison: Comparison, colored: Sequence[int]) -> str:
    figures = []
    for metric in curve_metrics(comparison):
        drawing = panel(comparison, metric, colored)
        if drawing:
            unit = ", %" if is_share(metric) else ""
            figures.append(
                f"<figure><figcaption>{escape(metric)}{unit}</figcaption>{drawing}</figure>"
            )
    if not figures:
        return ""
    rest = len(comparison.groups) - len(colored)
    grey = f" Grey: groups of the {rest} others, at most 80." if rest > 0 else ""
    return (
        "<p>Means over the runs of a group, over up to 60 intervals of steps (20 for train/); "
        f"the band is from its lowest to its highest run.{grey}</p>"
        f'<div class="grid2">{"".join(figures)}</div>'
    )


def _confusion(comparison: Comparison, colored: Sequence[int]) -> str:
    found = confusions(comparison, colored)
    if not found:
        return ""
    names = [comparison.groups[place].name for place, _ in found]
    options = "".join(
        f'<option value="{place}">{escape(name)}</option>'
        for (place, _), name in zip(found, names, strict=True)
    )
    figures = "".join(
        f'<figure data-matrix="{place}"><figcaption>{escape(name)}</figcaption>{matrix}</figure>'
        for (place, matrix), name in zip(found, names, strict=True)
    )
    return (
        "<p>Share of the pixels of each true class (row) that were predicted as each class "
        "(column), in percent, over all runs of the group; below 0.5 % nothing is written.</p>"
        f'<div class="control" hidden><label for="matrix">group</label>'
        f'<select id="matrix">{options}</select></div>{figures}'
    )


def _settings(comparison: Comparison) -> str:
    """Options that differ: for each of its values, the groups that have it."""
    groups = comparison.groups
    table = differences([{"method": group.method} | group.settings for group in groups])
    # What only another method has is no difference in a setting.
    table = {name: values for name, values in table.items() if len({*values} - {None}) > 1}
    table.pop("model", None)
    if not table:
        return ""
    rows = []
    for name, values in list(table.items())[:_SETTINGS]:
        by_value: dict[str | None, list[str]] = {}
        for value, group in zip(values, groups, strict=True):
            by_value.setdefault(value, []).append(group.name)
        for index, (value, names) in enumerate(list(by_value.items())[:12]):
            more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            head = f"<code>{escape(name)}</code>" if index == 0 else ""
            text = "<small>none</small>" if value is None else escape(value[:200])
            rows.append(
                f"<tr><td>{head}</td><td>{text}</td>"
                f"<td><small>{escape(', '.join(names[:_NAMES]))}{more}</small></td></tr>"
            )
        if len(by_value) > 12:
            rows.append(f"<tr><td></td><td>and {len(by_value) - 12} more values</td><td></td></tr>")
    left = f"<p>{len(table) - _SETTINGS} more options differ.</p>" if len(table) > _SETTINGS else ""
    return (
        "<p>Options in which groups differ; seeds, paths and matters of the machine are left out.</p>"
        '<div class="scroll"><table class="plain settings"><thead><tr><th>option</th><th>value</th>'
        f"<th>groups</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>{left}"
    )


def _runs(comparison: Comparison) -> str:
    """Every run, damaged ones too."""
    rows = []
    for row in comparison.rows:
        for run in row.group.runs:
            value = run.metrics.get(comparison.metric)
            number = "–" if value is None else shown(value, comparison.metric)
            if value is not None and run.number(comparison.metric) is None:
                number = f"({number})"
            seconds = "" if run.seconds is None else f"{run.seconds:.0f} s"
            state = "; ".join(run.problems)
            rows.append(
                f"<tr><td>{escape(run.name)}</td><td>{escape(row.group.name)}</td>"
                f'<td class="num">{"–" if run.seed is None else run.seed}</td>'
                f'<td class="num">{number}</td><td class="num">{seconds}</td>'
                f'<td class="bad">{escape(state)}</td></tr>'
            )
    unit = ", %" if is_share(comparison.metric) else ""
    search = (
        '<div class="control" hidden><input type="search" id="filter" placeholder="filter runs" '
        'aria-label="filter runs"></div>'
        if len(rows) > _OPEN_RUNS
        else ""
    )
    opened = " open" if len(rows) <= _OPEN_RUNS else ""
    return (
        f"<p>In parentheses: the number does not count, the run is not finished.</p>"
        f"<details{opened}><summary>{_count(len(rows), 'run')}</summary>{search}"
        '<div class="scroll"><table class="plain runs"><thead><tr><th>run</th><th>group</th>'
        f'<th class="num">seed</th><th class="num">{escape(comparison.metric)}{unit}</th>'
        f'<th class="num">wall time</th><th></th></tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div></details>"
    )
