"""Draw learning curves by matplotlib: a panel for each metric, a line for each group."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wsss_zoo.report.comparison import Comparison, is_share
from wsss_zoo.report.groups import Group
from wsss_zoo.report.metrics_file import Floats

# Points of 1/72 inch, which are the units of the SVG's viewBox.
_WIDTH, _HEIGHT = 300, 240
_LEFT, _BOTTOM, _RIGHT, _TOP = 0.13, 0.13, 0.96, 0.96
# Height of a name beside the lines, in percent of the panel.
_NAME_HEIGHT = 6.5
# A loss of single batches is noise: fewer, longer intervals.
_POINTS, _TRAIN_POINTS, _FAINT_POINTS = 60, 20, 20
_FAINT_LINES = 80
_PANELS = 6
# The page's style sheet gives colours and fonts; attributes would fix those of a bright screen.
_DROPPED = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<defs>.*?</defs>|"
    r" (?:id|style|clip-path|version|width|height|xmlns(?::xlink)?)=\"[^\"]*\"|\n\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Line:
    """Curve of a group: mean, least and greatest value of its runs at rising steps, (n,) each."""

    steps: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Panel:
    """Curves of one metric; no text out of runs is in the drawing (``svg``).

    The names of coloured groups stand at the ``ends`` of their lines, in percent from the top.
    """

    metric: str
    svg: Markup
    ends: dict[int, float]


def panels(comparison: Comparison, colored: Sequence[int]) -> list[Panel]:
    """Draw the curves of metrics: those of the table, then losses; not those by class.

    Groups at the places ``colored`` have a colour; others are grey.
    """
    known = {
        name
        for run in comparison.runs
        for name, curve in run.curves.items()
        if len(curve.steps) > 1 and name.count("/") < 2
    }
    first = [*comparison.metrics, "val/miou", "val/map", "train/loss"]
    order = [name for name in dict.fromkeys(first) if name in known]
    metrics = [*order, *sorted(known - set(order))][:_PANELS]
    # Whatever a user's own matplotlibrc says.
    with style.context(["default", {"svg.fonttype": "none"}]):
        found = [_panel(comparison.groups, metric, colored) for metric in metrics]
    return [panel for panel in found if panel is not None]


def group_line(group: Group, metric: str, points: int) -> Line | None:
    """Average the curves of a group's runs to at most ``points`` points; None without a curve."""
    curves = [run.curves[metric] for run in group.runs if metric in run.curves]
    curves = [curve for curve in curves if len(curve.steps) > 1]
    if not curves:
        return None
    bins = min(points, max(len(curve.steps) for curve in curves))
    ends = min(curve.steps[0] for curve in curves), max(curve.steps[-1] for curve in curves)
    edges = np.linspace(*ends, bins + 1)
    sums = []
    for curve in curves:
        index = np.minimum(np.searchsorted(edges, curve.steps, side="right") - 1, bins - 1)
        weights = (None, curve.steps, curve.values)
        sums.append([np.bincount(index, weight, bins) for weight in weights])
    counts, steps, values = np.array(sums).swapaxes(0, 1)
    with np.errstate(invalid="ignore"):
        steps, values = steps / counts, values / counts
    filled = np.isfinite(values).any(axis=0)
    steps, values = steps[:, filled], values[:, filled]
    mean, where = np.nanmean(values, axis=0), np.nanmean(steps, axis=0)
    return Line(where, mean, np.nanmin(values, axis=0), np.nanmax(values, axis=0))


def ticks(low: float, high: float, count: int) -> list[float]:
    """Choose round numbers that span a range, about ``count`` + 1 of them.

    >>> ticks(0.3, 9.2, 4)
    [0.0, 2.5, 5.0, 7.5, 10.0]
    """
    if not high > low:
        high = low + max(abs(low) * 0.1, 1e-6)
    found = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    # Without the noise of binary fractions.
    return [float(f"{tick:.10g}") for tick in found]


def move_apart(places: Sequence[float], step: float, high: float) -> list[float]:
    """Move rising places apart to at least ``step``, and below ``high`` as far as they fit.

    >>> move_apart([10.0, 11.0, 50.0], 5, 100)
    [10.0, 15.0, 50.0]
    """
    offsets = step * np.arange(len(places))
    moved = np.maximum.accumulate(np.array(places) - offsets) + offsets
    found: list[float] = np.minimum(moved, high - offsets[::-1]).tolist()
    return found


def _panel(groups: Sequence[Group], metric: str, colored: Sequence[int]) -> Panel | None:
    points = _TRAIN_POINTS if metric.startswith("train/") else _POINTS
    lines = {place: group_line(groups[place], metric, points) for place in colored}
    bright = {place: line for place, line in lines.items() if line is not None}
    others = [group for place, group in enumerate(groups) if place not in colored]
    grey = (group_line(group, metric, _FAINT_POINTS) for group in others[:_FAINT_LINES])
    faint = [line for line in grey if line is not None]
    if not bright and not faint:
        return None
    figure = Figure((_WIDTH / 72, _HEIGHT / 72))
    axes = figure.add_axes((_LEFT, _BOTTOM, _RIGHT - _LEFT, _TOP - _BOTTOM))
    scale = 100 if is_share(metric) else 1
    low, high = _set_scales(axes, [*faint, *bright.values()], scale)
    for line in faint:
        axes.plot(line.steps, line.mean * scale, gid="faint")
    # The first groups lie on top.
    for place, line in reversed(bright.items()):
        name = f"{place}-c{colored.index(place)}"
        if (line.high > line.low).any():
            outline = [*line.high * scale, *line.low[::-1] * scale]
            axes.fill([*line.steps, *line.steps[::-1]], outline, gid=f"band-{name}")
        axes.plot(line.steps, line.mean * scale, gid=f"line-{name}")
    heights = {
        place: (high - line.mean[-1] * scale) / (high - low) for place, line in bright.items()
    }
    order = sorted(heights, key=heights.__getitem__)
    ends = [100 * (1 - _TOP + (_TOP - _BOTTOM) * heights[place]) for place in order]
    ends = move_apart(ends, _NAME_HEIGHT, 98 * (1 - _BOTTOM))
    return Panel(metric, _svg(figure), dict(zip(order, ends, strict=True)))


def _set_scales(axes: Axes, lines: Sequence[Line], scale: float) -> tuple[float, float]:
    """Fit both axes to the lines, with grid lines at round numbers; return the ends of y."""
    values = np.concatenate([part for line in lines for part in (line.low, line.high)]) * scale
    last = max(float(line.steps[-1]) for line in lines)
    y_ticks = ticks(float(values.min()), float(values.max()), 4)
    x_ticks = [tick for tick in ticks(0, last, 4) if tick <= 1.02 * last]
    names = [f"{tick / 1000:g}k" if tick >= 10000 else f"{tick:g}" for tick in x_ticks]
    axes.set_xticks(x_ticks, [*names[:-1], f"step {names[-1]}"])
    axes.set_yticks(y_ticks, [f"{tick:g}" for tick in y_ticks])
    axes.set_xlim(0, max(last, x_ticks[-1], 1e-9))
    axes.set_ylim(y_ticks[0], y_ticks[-1])
    axes.tick_params(length=0, pad=7)
    axes.grid(axis="y", gid="grid")
    axes.set_frame_on(False)
    return y_ticks[0], y_ticks[-1]


def _svg(figure: Figure) -> Markup:
    """Write a figure as SVG that stands in a page and takes its style from there."""
    text = io.StringIO()
    figure.patch.set_visible(False)
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'id="(grid|faint)"', r'class="\1"', svg)
    svg = re.sub(r'id="(line|band)-(\d+)-(c\d+)"', r'class="\1 \3" data-g="\2"', svg)
    svg = re.sub(r'style="[^"]*text-anchor: (\w+)[^"]*"', r'text-anchor="\1"', svg)
    svg = re.sub(r"(\d\.\d)\d+", r"\1", svg)
    return Markup(_DROPPED.sub("", svg))
