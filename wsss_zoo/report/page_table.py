"""The main table of the page: numbers beside their seeds and intervals on common axes."""

from collections.abc import Sequence
from html import escape

from wsss_zoo.report.comparison import Comparison, Row, is_share, shown
from wsss_zoo.report.curves import ticks
from wsss_zoo.report.groups import seeds_of
from wsss_zoo.report.statistics import Estimate

# Two seeds can give an interval that dwarfs everything; it is cut and its end marked.
_WIDEST = 3


def main_table(comparison: Comparison, colored: Sequence[int]) -> str:
    """A row for each group; on a narrow screen each row becomes a card."""
    metric = comparison.metric
    values = [value for group in comparison.groups for value in group.numbers(metric)]
    scale = ticks(min(values), max(values), 3) if values else [0.0, 1.0]
    reach = _reach(comparison)
    head = [f'<th>group</th><th class="num">{_breakable(_title(metric))}</th>']
    title = escape(_title(metric), quote=True)
    head.append(f'<th class="strip" data-l="{title}">{_scale(scale, metric, signed=False)}</th>')
    if comparison.baseline is not None:
        name = _breakable(comparison.baseline.name)
        head.append(f'<th class="num">difference to {name}</th>')
        marks = [-reach, 0.0, reach]
        axis = _scale(marks, metric, signed=True)
        head.append(f'<th class="strip" data-l="difference to the baseline">{axis}</th>')
    head += [
        f'<th class="num">{_breakable(_title(other))}</th>' for other in comparison.metrics[1:]
    ]
    rows = "".join(
        _row(comparison, row, place, colored, scale, reach)
        for place, row in enumerate(comparison.rows)
    )
    dots = "Dots: runs; bar: their mean."
    if comparison.baseline is not None:
        dots += " Second axis: mean difference and its interval; dashed: the baseline."
        if 'class="lo' in rows or 'class="hi' in rows:
            dots += " Arrow: the interval reaches beyond the axis."
    return (
        f'<p>{dots}</p><table class="main"><thead><tr>{"".join(head)}<th></th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _title(metric: str) -> str:
    return f"{metric}, %" if is_share(metric) else metric


def _breakable(text: str) -> str:
    """Escaped, with breaks allowed where words of a name meet."""
    safe = escape(text)
    return safe.replace("/", "/<wbr>").replace("_", "_<wbr>").replace(", %", ",&nbsp;%")


def _seeds(seeds: Sequence[int]) -> str:
    """Seeds as ranges.

    >>> _seeds([0, 1, 2, 7])
    '0-2, 7'
    """
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    texts = [f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts]
    return ", ".join(texts[:6]) + (", …" if len(texts) > 6 else "")


def _reach(comparison: Comparison) -> float:
    """Half of the width of the axis of differences."""
    deltas = [row.delta for row in comparison.rows if row.delta is not None]
    greatest = max((max(abs(d.mean), d.spread or 0.0) for d in deltas), default=0.0) or 0.01
    ends = [max(abs(d.low or d.mean), abs(d.high or d.mean)) for d in deltas]
    return ticks(0, min(max(ends, default=0.01), _WIDEST * greatest) or 0.01, 2)[-1]


def _scale(marks: Sequence[float], metric: str, *, signed: bool) -> str:
    factor = 100 if is_share(metric) else 1
    low, high = marks[0], marks[-1]
    texts = "".join(
        f'<span style="left:{_percent(mark, low, high)}%">'
        f"{f'{mark * factor:+.4g}' if signed and mark else f'{mark * factor:.4g}'}</span>"
        for mark in marks
    )
    return f'<div class="scale">{texts}</div>'


def _row(
    comparison: Comparison,
    row: Row,
    place: int,
    colored: Sequence[int],
    scale: Sequence[float],
    reach: float,
) -> str:
    group, metric = row.group, comparison.metric
    color = f"c{colored.index(place)} " if place in colored else ""
    base = "base" if group is comparison.baseline else ""
    cell = row.cells[metric]
    cells = [_name(row)]
    cells.append(_number(cell, metric))
    cells.append(_strip(group.numbers(metric), cell, scale))
    if comparison.baseline is not None:
        cells.append(_difference(row.delta, metric))
        cells.append(_forest(row.delta, reach))
    cells += [_number(row.cells[other], other) for other in comparison.metrics[1:]]
    cells.append(
        f'<td class="why">{escape("; ".join(row.notes))}</td>' if row.notes else "<td></td>"
    )
    return f'<tr class="{color}{base}" data-g="{place}">{"".join(cells)}</tr>'


def _name(row: Row) -> str:
    group = row.group
    seeds = seeds_of([group])
    about = [group.method] if group.method != group.name else []
    if group.recipe:
        about.append(f"{group.recipe}, stage {group.runs[0].stage}")
    about.append(f"{len(group.runs)} runs" if len(group.runs) != 1 else "1 run")
    if seeds:
        about.append(f"seed{'s' if len(seeds) > 1 else ''} {_seeds(seeds)}")
    return (
        f'<th scope="row"><i class="sw"></i>{escape(group.name)}'
        f"<small>{escape(' · '.join(about))}</small></th>"
    )


def _number(cell: Estimate | None, metric: str) -> str:
    label = escape(_title(metric), quote=True)
    if cell is None:
        return f'<td class="num none" data-l="{label}">-</td>'
    spread = "" if cell.spread is None else f"<small>± {shown(cell.spread, metric)}</small>"
    return f'<td class="num" data-l="{label}"><b>{shown(cell.mean, metric)}</b>{spread}</td>'


def _strip(values: Sequence[float], cell: Estimate | None, scale: Sequence[float]) -> str:
    if cell is None:
        return '<td class="strip none"></td>'
    low, high = scale[0], scale[-1]
    dots = "".join(f'<i style="left:{_percent(value, low, high)}%"></i>' for value in values)
    mean = f'<b style="left:{_percent(cell.mean, low, high)}%"></b>'
    return f'<td class="strip"><div class="axis">{dots}{mean}</div></td>'


def _difference(delta: Estimate | None, metric: str) -> str:
    if delta is None:
        return '<td class="num none"></td>'
    if delta.low is None or delta.high is None:
        interval = "1 seed"
    else:
        ends = (shown(end, metric, signed=True) for end in (delta.low, delta.high))
        interval = " to ".join(ends)
    mean = shown(delta.mean, metric, signed=True)
    return f'<td class="num" data-l="difference"><b>{mean}</b><small>{interval}</small></td>'


def _forest(delta: Estimate | None, reach: float) -> str:
    if delta is None:
        return '<td class="strip none"></td>'
    parts = ['<u style="left:50%"></u>']
    if delta.low is not None and delta.high is not None:
        left, right = _percent(delta.low, -reach, reach), _percent(delta.high, -reach, reach)
        cut = "lo " * (delta.low < -reach) + "hi" * (delta.high > reach)
        mark = f' class="{cut.strip()}"' if cut else ""
        parts.append(f'<s style="left:{left}%;width:{right - left:.1f}%"{mark}></s>')
    parts.append(f'<b style="left:{_percent(delta.mean, -reach, reach)}%"></b>')
    return f'<td class="strip"><div class="axis">{"".join(parts)}</div></td>'


def _percent(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return round(100 * min(max(share, 0.0), 1.0), 1)
