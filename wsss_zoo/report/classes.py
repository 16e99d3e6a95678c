"""Bars by class and confusion matrices, as HTML."""

from collections.abc import Sequence
from html import escape

import numpy as np

from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.groups import Group, class_lists
from wsss_zoo.report.metrics_file import Floats
from wsss_zoo.report.statistics import Estimate, estimate

# Measures by class: name of the metric without the class, and what it is.
_MEASURES = {
    "val/iou/": "IoU on val",
    "test/iou/": "IoU on test",
    "val/ap/": "average precision on val",
    "test/ap/": "average precision on test",
    "pseudo/iou/": "IoU of the pseudo-labels",
}
_CLASSES = 30
_MATRIX = 30
_PAIRS = 20


def class_bars(comparison: Comparison, colored: Sequence[int]) -> str:
    """Bars of the coloured groups for each class, a figure for each measure and list of classes."""
    groups = comparison.groups
    figures = []
    for prefix, title in _MEASURES.items():
        for names, same in class_lists(groups).items():
            chosen = [place for place in colored if groups[place] in same]
            table = {place: _by_class(groups[place], names, prefix) for place in chosen}
            table = {place: row for place, row in table.items() if row}
            if table:
                figures.append(_figure(title, table, groups, colored))
    return "".join(figures)


def _by_class(group: Group, names: Sequence[str], prefix: str) -> dict[str, Estimate]:
    values = {name: group.numbers(prefix + name) for name in names}
    return {name: estimate(found) for name, found in values.items() if found}


def _figure(
    title: str,
    table: dict[int, dict[str, Estimate]],
    groups: Sequence[Group],
    colored: Sequence[int],
) -> str:
    """Bars of one measure: classes in the order of the data, the background first."""
    order: list[str] = []
    for place in table:
        order += [n for n in groups[place].class_names if n in table[place] and n not in order]
    left = 0
    if len(order) > _CLASSES:
        reach = {name: _reach(table, name) for name in order}
        chosen = set(sorted(order, key=lambda name: -reach[name])[:_CLASSES])
        left = len(order) - len(chosen)
        order = [name for name in order if name in chosen]
    rows = "".join(_class_block(name, table, groups, colored) for name in order)
    legend = "".join(
        f'<li class="c{colored.index(place)}" data-g="{place}"><i></i>'
        f"{escape(groups[place].name)}</li>"
        for place in table
    )
    more = f"; the {_CLASSES} classes with the greatest differences, {left} more" if left else ""
    return (
        f"<figure><figcaption>{escape(title)}, % <small>mean of the runs; line: ± standard "
        f'deviation{more}</small></figcaption><ul class="legend">{legend}</ul>'
        f'<div class="bars">{rows}</div></figure>'
    )


def _reach(table: dict[int, dict[str, Estimate]], name: str) -> float:
    means = [row[name].mean for row in table.values() if name in row]
    return max(means) - min(means)


def _class_block(
    name: str,
    table: dict[int, dict[str, Estimate]],
    groups: Sequence[Group],
    colored: Sequence[int],
) -> str:
    bars = []
    for place, row in table.items():
        cell = row.get(name)
        start = f'<div class="bar c{colored.index(place)}" data-g="{place}"'
        if cell is None:
            bars.append(f"{start}><b></b><span>-</span></div>")
            continue
        value = 100 * cell.mean
        whisker = ""
        if cell.spread:
            low, high = max(value - 100 * cell.spread, 0), min(value + 100 * cell.spread, 100)
            whisker = f'<s style="left:{low:.1f}%;width:{high - low:.1f}%"></s>'
        title = escape(f"{groups[place].name}: {value:.1f}", quote=True)
        bars.append(
            f'{start} title="{title}"><b><i style="width:{max(value, 0.2):.1f}%"></i>{whisker}</b>'
            f"<span>{value:.0f}</span></div>"
        )
    return f'<div class="class"><h4>{escape(name)}</h4><div>{"".join(bars)}</div></div>'


def confusions(comparison: Comparison, colored: Sequence[int]) -> list[tuple[int, str]]:
    """Place and confusion matrix of each coloured group that has one, summed over its runs."""
    found = []
    for place in colored:
        group = comparison.groups[place]
        names = group.class_names
        matrices = [
            run.confusion
            for run in group.runs
            if run.confusion is not None and len(run.confusion) == len(names) > 0
        ]
        if matrices:
            found.append((place, _matrix(np.sum(matrices, axis=0), names)))
    return found


def _matrix(counts: Floats, names: Sequence[str]) -> str:
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    if len(names) > _MATRIX:
        return _pairs(shares, names)
    heads = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for index, name in enumerate(names):
        cells = "".join(
            _cell(share, diagonal=index == other)
            for other, share in enumerate(shares[index].tolist())
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><th class="corner">'
        f"truth ↓ prediction →</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(share: float, *, diagonal: bool) -> str:
    percent = round(100 * share)
    names = (["dg"] if diagonal else []) + (["hi"] if share > 0.5 else [])
    start = f'<td class="{" ".join(names)}"' if names else "<td"
    if percent < 1:
        return f"{start}></td>"
    return f'{start} style="--v:{percent}%">{percent}</td>'


def _pairs(shares: Floats, names: Sequence[str]) -> str:
    """The most frequent mistakes, where a matrix would be too large to read."""
    wrong = shares.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for truth, pred in zip(*np.unravel_index(order, wrong.shape), strict=True):
        rows.append(
            f"<tr><td>{escape(names[truth])}</td><td>{escape(names[pred])}</td>"
            f'<td class="num">{100 * wrong[truth, pred]:.0f}</td></tr>'
        )
    return (
        f"<p class=note>{len(names)} classes: the {len(rows)} most frequent mistakes, as a share "
        'of the pixels of the true class.</p><table class="plain"><thead><tr><th>truth</th>'
        f"<th>predicted as</th><th>%</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
