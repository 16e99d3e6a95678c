"""The page: one HTML file with everything in it, that asks nothing of the network."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from wsss_zoo.report.classes import class_bars, confusions
from wsss_zoo.report.comparison import Comparison, is_share
from wsss_zoo.report.curves import curve_metrics, panel
from wsss_zoo.report.examples import Examples
from wsss_zoo.report.page_examples import examples_section
from wsss_zoo.report.page_runs import runs_section, settings_section
from wsss_zoo.report.page_table import main_table
from wsss_zoo.report.tables import caption

# Colours that people tell apart, also without red or green; more would not be.
_COLORS = 8
_SHOWN_PROBLEMS = 100


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
        "Settings": settings_section(comparison),
        "Runs": runs_section(comparison),
    }
    body = "".join(
        f'<section id="{_anchor(title)}"><h2>{title}</h2>'
        f"{content or f'<p>{_EMPTY[title]}</p>'}</section>"
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
        f"<title>{runs} runs compared</title><style>{_resource('page.css')}</style></head>"
        f"<body{' class=based' if comparison.baseline else ''}>"
        f"<header><h1>{_count(runs, 'run')} in {_count(groups, 'group')}</h1>"
        f"<p>{escape(_subtitle(comparison))}</p><nav>{nav}</nav></header>{_problems(comparison)}"
        f"<main>{body}</main><footer>{made}<p>{_FOOTER}</p></footer>"
        f"<script>{script}</script></body></html>\n"
    )


# What stands in the place of a section without content.
_EMPTY = {
    "Learning curves": "No run has a metric of more than one step.",
    "Classes": "No run has numbers by class.",
    "Confusion": "No run has a confusion matrix; validate and test of a segmenter write one.",
    "Settings": "All groups have the same settings, or there is only one.",
}
_FOOTER = (
    "A group is the runs that differ in nothing but seed and paths. The number of a run is that "
    "of its validate or test, else the last of its training, never the best; train/ numbers are "
    "means over the last 100 steps. Unfinished runs do not count. An interval is Student's t for "
    "the mean of the differences between runs of the same seed."
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
    about = caption(comparison).removeprefix("shares in percent; ")
    # The number and its sign stay on one line.
    return f"{comparison.metric}{unit}: {about}.".replace(" %", "\N{NO-BREAK SPACE}%")


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
