"""Learning curves as SVG, drawn by hand: one panel for each metric, a line for each group."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from wsss_zoo.report.comparison import Comparison, is_share
from wsss_zoo.report.groups import Group
from wsss_zoo.report.metrics_file import Floats

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 104, 12, 30
_LABEL_STEP = 13
# A loss of single batches is noise: fewer, longer intervals.
_POINTS, _TRAIN_POINTS, _FAINT_POINTS = 60, 20, 20
_FAINT_LINES = 80
_PANELS = 6

_Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """Curve of a group.

    Args:
        place: Place of the group in the table.
        name: Its name.
        steps: Rising, (n,).
        mean: Mean over its runs, (n,).
        low: The smallest of its runs, (n,).
        high: The greatest, (n,).
    """

    place: int
    name: str
    steps: Floats
    mean: Floats
    low: Floats
    high: Floats


def curve_metrics(comparison: Comparison) -> list[str]:
    """Metrics that have curves, those of the table first, then losses; not those by class."""
    known = {
        name
        for run in comparison.runs
        for name, curve in run.curves.items()
        if len(curve.steps) > 1 and name.count("/") < 2
    }
    first = [*comparison.metrics, "val/miou", "val/map", "train/loss"]
    order = [name for name in dict.fromkeys(first) if name in known]
    return [*order, *sorted(known - set(order))][:_PANELS]


def group_line(group: Group, place: int, metric: str, points: int) -> Line | None:
    """Mean curve of a group's runs, of at most ``points`` points; None without a curve."""
    curves = [run.curves[metric] for run in group.runs if metric in run.curves]
    curves = [curve for curve in curves if len(curve.steps) > 1]
    if not curves:
        return None
    first = min(curve.steps[0] for curve in curves)
    last = max(curve.steps[-1] for curve in curves)
    bins = min(points, max(len(curve.steps) for curve in curves))
    edges = np.linspace(first, last, bins + 1)
    steps = np.full((len(curves), bins), np.nan)
    values = np.full((len(curves), bins), np.nan)
    for row, curve in enumerate(curves):
        index = np.minimum(np.searchsorted(edges, curve.steps, side="right") - 1, bins - 1)
        counts = np.bincount(index, minlength=bins)
        with np.errstate(invalid="ignore"):
            values[row] = np.bincount(index, curve.values, bins) / counts
            steps[row] = np.bincount(index, curve.steps, bins) / counts
    filled = np.isfinite(values).any(axis=0)
    values, steps = values[:, filled], steps[:, filled]
    mean, where = np.nanmean(values, axis=0), np.nanmean(steps, axis=0)
    return Line(
        place, group.name, where, mean, np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    )


def panel(comparison: Comparison, metric: str, colored: Sequence[int]) -> str:
    """One panel as SVG.

    Args:
        comparison: What is compared.
        metric: What is drawn.
        colored: Places of the groups that have a colour, each its index; others are grey.
    """
    lines: list[Line] = []
    faint: list[Line] = []
    points = _TRAIN_POINTS if metric.startswith("train/") else _POINTS
    for place, group in enumerate(comparison.groups):
        if place in colored:
            line = group_line(group, place, metric, points)
            lines += [line] if line else []
        elif len(faint) < _FAINT_LINES:
            line = group_line(group, place, metric, _FAINT_POINTS)
            faint += [line] if line else []
    if not lines and not faint:
        return ""
    drawn = [*faint, *lines]
    scale = 100 if is_share(metric) else 1
    ys = np.concatenate([np.concatenate([line.low, line.high]) for line in drawn]) * scale
    xs = np.concatenate([line.steps for line in drawn])
    y_ticks = ticks(float(ys.min()), float(ys.max()), 4)
    x_ticks = [t for t in ticks(0, float(xs.max()), 4) if t <= xs.max() * 1.02]
    low, high = y_ticks[0], y_ticks[-1]

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(float(xs.max()), 1e-9)

    def y(value: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return _TOP + height * (1 - (value * scale - low) / max(high - low, 1e-12))

    parts = [_axes(x_ticks, [(t, y(t / scale)) for t in y_ticks], x)]
    for line in faint:
        path = _path(zip(map(x, line.steps), map(y, line.mean), strict=True))
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<path class="ln faint" d="{path}">{title}</path>')
    for line in reversed(lines):
        parts.append(_colored(line, colored.index(line.place), x, y))
    parts.append(_labels(lines, colored, x, y))
    label = escape(f"{metric} over the steps of the training")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers that span a range, about ``count`` + 1 of them.

    >>> ticks(0.3, 9.2, 4)
    [0.0, 2.5, 5.0, 7.5, 10.0]
    """
    if not high > low:
        high = low + max(abs(low) * 0.1, 1e-6)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _axes(x_ticks: Sequence[float], y_ticks: Sequence[tuple[float, float]], x: _Scale) -> str:
    parts = []
    right = _WIDTH - _RIGHT
    for value, place in y_ticks:
        parts.append(
            f'<path class="grid" d="M{_LEFT} {place:.1f}H{right}"/>'
            f'<text x="{_LEFT - 6}" y="{place + 3.5:.1f}" text-anchor="end">{value:g}</text>'
        )
    bottom = _HEIGHT - _BOTTOM
    for index, value in enumerate(x_ticks):
        place = x(value)
        text = f"{value / 1000:g}k" if value >= 10000 else f"{value:g}"
        text = f"step {text}" if index == len(x_ticks) - 1 else text
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    return "".join(parts)


def _colored(line: Line, color: int, x: _Scale, y: _Scale) -> str:
    xs = [x(step) for step in line.steps]
    band = ""
    if (line.high > line.low).any():
        upper = [y(value) for value in line.high]
        lower = [y(value) for value in line.low]
        outline = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
        band = f'<path class="band" d="{_path(outline)}z"/>'
    points = list(zip(xs, (y(value) for value in line.mean), strict=True))
    title = f"<title>{escape(line.name)}</title>"
    return (
        f'<g class="c{color}" data-g="{line.place}">{title}{band}'
        f'<path class="ln" d="{_path(points)}"/></g>'
    )


def _labels(lines: Sequence[Line], colored: Sequence[int], x: _Scale, y: _Scale) -> str:
    """Names at the ends of the lines, moved apart where they would lie on each other."""
    ends = sorted(((y(line.mean[-1]), line) for line in lines), key=lambda end: end[0])
    places = spread([end for end, _ in ends], _LABEL_STEP, _TOP, _HEIGHT - _BOTTOM)
    return "".join(
        f'<text class="lb c{colored.index(line.place)}" data-g="{line.place}" '
        f'x="{_WIDTH - _RIGHT + 8}" y="{place + 3.5:.1f}">{escape(_cut(line.name))}'
        f"<title>{escape(line.name)}</title></text>"
        for place, (_, line) in zip(places, ends, strict=True)
    )


def spread(places: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move rising places apart to at least ``step``, inside a range as far as they fit.

    >>> spread([10.0, 11.0, 50.0], 5, 0, 100)
    [10.0, 15.0, 50.0]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + step) if moved else max(place, low))
    limit = high
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - step
    return moved


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)


def _cut(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:7]}…{name[-8:]}"
