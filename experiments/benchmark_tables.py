"""Keep the measurements of ``make bench`` and ``make test-gpu``; write BENCHMARKS.md from them.

    python experiments/benchmark_tables.py runs/bench.json [FILE ...]
    python experiments/benchmark_tables.py runs/gpu.json

Rows of later files replace those of earlier ones, so a part can be measured again. A single file
replaces all of its kind. Without a file the page is written from the kept measurements.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT, PAGE = HERE / "results" / "benchmarks.json", HERE / "BENCHMARKS.md"
KEPT_GPU = HERE / "results" / "gpu.json"
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"
BEGIN_GPU, END_GPU = "<!-- measured on a card -->\n", "<!-- end of card -->"
NEVER = """**It has never run on a card: none was at hand.** So there is no number here. It was
tried without one:

* `make test-gpu DEVICE=cpu` ran all of its tests on a CPU, in small sizes. Only the lines that
  CUDA alone has did not run: events that time, `set_sync_debug_mode`, the peak of its memory.
* `tests/methods/test_no_host_sync.py` runs the steps of all methods on torch's fake CUDA tensors,
  which raise where the host waits.
"""

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


def gpu_table(content: dict[str, Any] | None) -> str:
    """Write the card, and a line per method, network and precision."""
    if content is None:
        return NEVER
    machine, rows = content["machine"], content["rows"]
    measures = list(dict.fromkeys(row["what"] for row in rows))
    lines = [
        f"{content['date'][:10]}: {machine['gpu']}, CUDA {machine['cuda']}, torch "
        f"{machine['torch']}.",
        "",
        f"| case | {' | '.join(measures)} |",
        f"|{' --- |' * (len(measures) + 1)}",
    ]
    for case, group in groupby(rows, key=lambda row: row["case"]):
        values = {row["what"]: row for row in group}
        cells = [_cell(values[what]) if what in values else "" for what in measures]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(row: dict[str, Any]) -> str:
    bound = "" if _held(row) else f" **({_bound(row)}: missed)**"
    return f"{row['value']:.4g}{bound}"


def page(content: dict[str, Any], gpu: dict[str, Any] | None) -> str:
    """Return BENCHMARKS.md with new tables."""
    text = _between(PAGE.read_text(), BEGIN, tables(content), END)
    return _between(text, BEGIN_GPU, gpu_table(gpu), END_GPU)


def _between(text: str, begin: str, content: str, end: str) -> str:
    return f"{text.partition(begin)[0]}{begin}{content}{end}{text.partition(end)[2]}"


def kept(path: Path) -> dict[str, Any] | None:
    """Read kept measurements; None if there are none."""
    return json.loads(path.read_text()) if path.exists() else None


def keep(files: list[dict[str, Any]]) -> None:
    """Keep measurements, those of a card apart.

    Raises:
        SystemExit: If files come from several machines, or from a trial of tests/gpu on a CPU.
    """
    of_card = [content for content in files if "gpu" in content["machine"]]
    if any(content["machine"]["gpu"] is None for content in of_card):
        raise SystemExit("a file is of a trial on a CPU, in other sizes: run make test-gpu")
    others = [content for content in files if "gpu" not in content["machine"]]
    for path, given in ((KEPT, others), (KEPT_GPU, of_card)):
        if given:
            path.write_text(json.dumps(merged(given), indent=1) + "\n")


def main() -> None:
    """Keep the given files, if any, and write the page."""
    keep([json.loads(Path(name).read_text()) for name in sys.argv[1:]])
    PAGE.write_text(page(json.loads(KEPT.read_text()), kept(KEPT_GPU)))


if __name__ == "__main__":
    main()
