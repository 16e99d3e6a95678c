"""Keep the measurements of ``make bench``, and write the tables of BENCHMARKS.md from them.

    python experiments/benchmark_tables.py runs/bench.json [FILE ...]

Rows of later files replace those of earlier ones, so a part can be measured again. A single file
replaces all. Without a file the page is written from the kept measurements.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT, PAGE = HERE / "results" / "benchmarks.json", HERE / "BENCHMARKS.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"

Rows = list[dict[str, Any]]


def merged(files: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge files into one set of rows, with the machine and the last date.

    A row that met its bound only when measured again keeps the value that missed it.
    """
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in (row for content in files for row in content["rows"]):
        before = rows.get(_key(row), row)
        again = {} if _held(before) or not _held(row) else {"missed_before": before["value"]}
        rows[_key(row)] = row | again
    machines = {json.dumps(content["machine"], sort_keys=True) for content in files}
    if len(machines) > 1:
        raise SystemExit(
            f"the files come from {len(machines)} machines; pass files of one machine: {machines}"
        )
    return {"date": files[-1]["date"], "machine": files[-1]["machine"], "rows": [*rows.values()]}


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("benchmark", "test", "case", "what"))


def tables(content: dict[str, Any]) -> str:
    """Write the machine, missed bounds, and a table per file of benchmarks."""
    machine, rows = content["machine"], content["rows"]
    missed = [row for row in rows if not _held(row)]
    broken = _broken(rows)
    lines = [
        f"{content['date'][:10]}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, torch {machine['torch']}, numpy "
        f"{machine['numpy']}; one thread. {len(rows)} numbers, "
        f"{sum(_bound(row) != '' for row in rows)} with a bound, {len(missed)} of them missed; "
        f"{len(broken)} promises are known to be broken.",
        "",
    ]
    lines += [f"* {text}" for text in [*broken, *_again(rows)]]
    if lines[-1]:
        lines.append("")
    rows = sorted(rows, key=lambda row: row["benchmark"])  # stable: keeps the order within
    for name, group in groupby(rows, key=lambda row: row["benchmark"]):
        lines += [f"### {name.replace('_', ' ')}", ""]
        lines += [
            "| case | measure | value | bound | peak, MB |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in group]
        lines.append("")
    return "\n".join(lines)


def _broken(rows: Rows) -> list[str]:
    """List broken promises with values and cause, once for all cases."""
    reasons: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        limit = row.get("promised")
        if limit is not None and row["value"] > limit:
            key = (row["benchmark"], row["what"], f"{limit:g}", row["cause"])
            reasons.setdefault(key, []).append(row)
    texts = []
    for (benchmark, what, limit, cause), which in reasons.items():
        values = sorted(row["value"] for row in which)
        span = " to ".join(dict.fromkeys(f"{value:.4g}" for value in (values[0], values[-1])))
        title = f"{benchmark.replace('_', ' ')}, {what}"
        texts.append(f"**{title}: {span}, promised {limit}.** Cause: {cause}.")
    return texts


def _again(rows: Rows) -> list[str]:
    """List rows that met their bound only when their file was measured again."""
    return [
        f"{' '.join(filter(None, [row['benchmark'].replace('_', ' '), row['case']]))}, "
        f"{row['what']}: {row['missed_before']:.4g} at first, {row['value']:.4g} when its file was "
        f"measured again, bound {_bound(row)}."
        for row in rows
        if "missed_before" in row
    ]


def _line(row: dict[str, Any]) -> str:
    bound = _bound(row) if _held(row) else f"**{_bound(row)}: missed**"
    promised = row.get("promised")
    if promised is not None and row["value"] > promised:
        bound += f", **promised {promised:g}: missed**"
    peak = "" if row.get("peak_mb") is None else row["peak_mb"]
    return f"| {row['case']} | {row['what']} | {row['value']:.4g} | {bound} | {peak} |"


def _bound(row: dict[str, Any]) -> str:
    if row["at_most"] is not None:
        return f"≤ {row['at_most']:.4g}"
    return "" if row["at_least"] is None else f"≥ {row['at_least']:.4g}"


def _held(row: dict[str, Any]) -> bool:
    low, high = row["at_least"], row["at_most"]
    return (low is None or row["value"] >= low) and (high is None or row["value"] <= high)


def page(content: dict[str, Any]) -> str:
    """Return BENCHMARKS.md with new tables."""
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    return f"{before}{BEGIN}{tables(content)}{END}{after}"


def main() -> None:
    """Keep the given files, if any, and write the page."""
    files = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if files:
        KEPT.write_text(json.dumps(merged(files), indent=1) + "\n")
    PAGE.write_text(page(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
