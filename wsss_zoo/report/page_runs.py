"""Settings in which groups differ, and the list of all runs, on the page."""

from html import escape

from wsss_zoo.report.comparison import Comparison, is_share, shown
from wsss_zoo.report.settings import differences

_OPEN_RUNS = 12
_SETTINGS, _VALUES, _NAMES = 60, 12, 6


def settings_section(comparison: Comparison) -> str:
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
        for index, (value, names) in enumerate(list(by_value.items())[:_VALUES]):
            more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            head = f"<code>{escape(name)}</code>" if index == 0 else ""
            text = "<small>none</small>" if value is None else escape(value[:200])
            rows.append(
                f"<tr><td>{head}</td><td>{text}</td>"
                f"<td><small>{escape(', '.join(names[:_NAMES]))}{more}</small></td></tr>"
            )
        if len(by_value) > _VALUES:
            rows.append(
                f"<tr><td></td><td>and {len(by_value) - _VALUES} more values</td><td></td></tr>"
            )
    left = f"<p>{len(table) - _SETTINGS} more options differ.</p>" if len(table) > _SETTINGS else ""
    return (
        "<p>Options in which groups differ; seeds, paths and matters of the machine are left out."
        "</p>"
        '<div class="scroll"><table class="plain settings"><thead><tr><th>option</th><th>value</th>'
        f"<th>groups</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>{left}"
    )


def runs_section(comparison: Comparison) -> str:
    """Every run, damaged ones too."""
    rows = []
    for row in comparison.rows:
        for run in row.group.runs:
            value = run.metrics.get(comparison.metric)
            number = "-" if value is None else shown(value, comparison.metric)
            if value is not None and run.number(comparison.metric) is None:
                number = f"({number})"
            seconds = "" if run.seconds is None else f"{run.seconds:.0f} s"
            state = "; ".join(run.problems)
            rows.append(
                f"<tr><td>{escape(run.name)}</td><td>{escape(row.group.name)}</td>"
                f'<td class="num">{"-" if run.seed is None else run.seed}</td>'
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
        "<p>In parentheses: the number does not count, the run is not finished.</p>"
        f"<details{opened}><summary>All {len(rows)}</summary>{search}"
        '<div class="scroll"><table class="plain runs"><thead><tr><th>run</th><th>group</th>'
        f'<th class="num">seed</th><th class="num">{escape(comparison.metric)}{unit}</th>'
        f'<th class="num">wall time</th><th></th></tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div></details>"
    )
