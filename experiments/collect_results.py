"""Keep the small files of counted pipeline runs, and build the tables of RESULTS.md from them.

    python experiments/collect_results.py add FAMILY/ROW RUN [RUN ...]   # folders of pipelines
    python experiments/collect_results.py tables                        # rewrite RESULTS.md

A run is kept under ``experiments/results/<family>/<row>/seed<N>``; paths of the machine it ran on
are replaced by the name of their option. Tables stand between ``<!-- table FAMILY/ROW -->`` and
``<!-- end -->``.
"""

import argparse
import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE / "RESULTS.md"
KEPT = (
    "step.yaml",
    "metrics.csv",
    "val_results.json",
    "pseudo_labels/manifest.json",
    "pseudo_labels/quality.json",
)
PATHS = {("data", "init_args", "root"), ("model", "init_args", "weights")}


def add(row: str, run: Path) -> None:
    """Copy what counts of one finished pipeline."""
    summary = json.loads((run / "summary.json").read_text())
    seeds = {_config(run / step)["seed_everything"] for step in summary["steps"]}
    if len(seeds) != 1:
        raise SystemExit(f"{run}: its steps have the seeds {sorted(seeds)}; one run has one seed")
    target = RESULTS / row / f"seed{seeds.pop()}"
    if target.exists():
        shutil.rmtree(target)
    for step in summary["steps"]:
        folder = target / step
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(_without_paths(_config(run / step))))
        for name in KEPT[1:]:
            if (run / step / name).exists():
                shutil.copy(run / step / name, folder / Path(name).name)
    (target / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def _config(step: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((step / "config.yaml").read_text())
    return content


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Replace what only the machine of the run knows."""
    for path in PATHS:
        *parents, last = path
        place = config
        for key in parents:
            place = place.get(key) or {}
        if place.get(last):
            place[last] = f"<{path[0]}.{last}>"
    config["trainer"]["default_root_dir"] = "<run>"
    config.pop("ckpt_path", None)
    for key in ("pseudo_label_dir",):
        if config["data"]["init_args"].get(key):
            config["data"]["init_args"][key] = "<labels of an earlier step>"
    return config


def table(row: str) -> str:
    """Markdown table of a row: one column a seed, then mean and standard deviation."""
    runs = sorted((RESULTS / row).glob("seed*"))
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    lines = [
        " | ".join(["| measure", *(f"seed {run.name[4:]}" for run in runs), "mean ± sd |"]),
        "| --- " * (len(runs) + 2) + "|",
    ]
    rows = {
        name: [summary["report"][name] for summary in summaries] for name in summaries[0]["report"]
    }
    for name, value in _sweep_rows(runs).items():
        rows.setdefault(name, value)
    for name, values in rows.items():
        lines.append(_line(name, values, ".3f"))
    for name in summaries[0]["steps"]:
        seconds = [summary["steps"][name]["seconds"] for summary in summaries]
        resumed = any(summary["steps"][name]["resumed"] for summary in summaries)
        lines.append(_line(f"{name}, s{' (resumed)' if resumed else ''}", seconds, ".0f"))
    totals = [sum(step["seconds"] for step in summary["steps"].values()) for summary in summaries]
    lines.append(_line("all steps, s", totals, ".0f"))
    return "\n".join(lines)


def _sweep_rows(runs: list[Path]) -> dict[str, list[float]]:
    """CAM mIoU at fixed thresholds, from the sweep of the step that wrote the labels."""
    rows: dict[str, list[float]] = {}
    for run in runs:
        for path in run.glob("*/quality.json"):
            sweep = json.loads(path.read_text()).get("sweep")
            if sweep is None:
                continue
            for threshold in (0.3, 0.4):
                name = f"CAM mIoU, train, no CRF, threshold {threshold}"
                rows.setdefault(name, []).append(_at(sweep, threshold))
    return rows


def _at(sweep: Any, threshold: float) -> float:
    thresholds, values = sweep["thresholds"], sweep["miou"]
    place = min(range(len(thresholds)), key=lambda index: abs(thresholds[index] - threshold))
    return float(values[place])


def _line(name: str, values: list[float], form: str) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    cells = " | ".join(f"{value:{form}}" for value in values)
    return f"| {name} | {cells} | {statistics.mean(values):{form}} ± {spread:{form}} |"


def tables() -> None:
    """Rewrite the tables of RESULTS.md."""
    pattern = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    text = PAGE.read_text()
    PAGE.write_text(pattern.sub(lambda match: f"{match[1]}{table(match[2])}\n{match[3]}", text))


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add")
    adding.add_argument("row")
    adding.add_argument("runs", nargs="+", type=Path)
    commands.add_parser("tables")
    options = parser.parse_args()
    if options.command == "add":
        for run in options.runs:
            add(options.row, run)
    tables()


if __name__ == "__main__":
    main()
