"""Render the page: one HTML file that loads nothing from the network."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from itertools import islice

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wsss_zoo.report import settings
from wsss_zoo.report.comparison import Comparison, is_share, shown
from wsss_zoo.report.page.classes import class_figures, confusions
from wsss_zoo.report.page.curves import panels
from wsss_zoo.report.page.examples import Examples
from wsss_zoo.report.page.table import axes, breakable, seed_ranges
from wsss_zoo.report.tables import caption

# Colours that people tell apart, also without red or green; more would not be.
_COLORS = 8


def page(comparison: Comparison, examples: Examples, command: str = "", note: str = "") -> str:
    """Render the comparison as one self-contained HTML page, made by ``command``.

    The lines of ``note`` stand at the top.

    All that comes from runs is escaped. The content security policy lets only the page's own script
    run, and lets it load only what the page holds.
    """
    places, count = colored_places(comparison), len(comparison.rows)
    values, differences = axes(comparison)
    script = _resource("page.js")
    return _environment().get_template("page.html").render(
        comparison=comparison,
        rows=comparison.rows,
        metric=comparison.metric,
        baseline=comparison.baseline,
        problems=[*comparison.problems, *comparison.problems_of_runs()],
        # Class of a group's colour by its place.
        colors=[f"c{places.index(place)}" if place in places else "" for place in range(count)],
        uncolored=count - len(places),
        values_axis=values,
        differences_axis=differences,
        arrows=any(differences.cut(row.delta) for row in comparison.rows if row.delta),
        panels=panels(comparison, places),
        figures=class_figures(comparison, places),
        confusions=confusions(comparison, places),
        examples=examples,
        options=differing_options(comparison),
        footnotes=comparison.footnotes(),
        command=command,
        note=note.splitlines(),
        style=Markup(_resource("page.css")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def colored_places(comparison: Comparison) -> list[int]:
    """Choose the groups that get a colour: the first ones of the table that measured anything."""
    groups = enumerate(comparison.groups)
    measured = (n for n, group in groups if any(run.metrics or run.curves for run in group.runs))
    return list(islice(measured, _COLORS))


def differing_options(comparison: Comparison) -> dict[str, dict[str | None, list[str]]]:
    """List the options that differ: for each of its values, the groups that have it."""
    groups = comparison.groups
    table = settings.differences(
        [{"method": group.method} | group.settings | group.inputs for group in groups]
    )
    table.pop("model", None)
    options: dict[str, dict[str | None, list[str]]] = {}
    for name, values in table.items():
        # What only another method has is no difference in a setting.
        if len({*values} - {None}) > 1:
            options[name] = {}
            for value, group in zip(values, groups, strict=True):
                options[name].setdefault(value, []).append(group.name)
    return options


@cache
def _environment() -> Environment:
    """Make the templates' environment once: to compile them takes most of a small page's time."""
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"shown": shown, "breakable": breakable, "seed_ranges": seed_ranges}
    environment.filters["title"] = lambda metric: f"{metric}, %" if is_share(metric) else metric
    environment.tests["folded_in"] = lambda row, table: table.is_folded(row)
    environment.globals["caption"] = caption
    return environment


def _resource(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
