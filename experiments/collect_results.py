"""Keep the small files of counted runs, and build the tables of RESULTS.md from them.

    python experiments/collect_results.py add FAMILY/ROW RUN [RUN ...]   # folders of pipelines
    python experiments/collect_results.py add-rows FAMILY FOLDER         # of semi_rows.py
    python experiments/collect_results.py tables                        # rewrite RESULTS.md

A run is kept under ``experiments/results/<family>/<row>/seed<N>``; paths of the machine it ran on
are replaced by the name of their option. Tables stand between ``<!-- table FAMILY/ROW -->`` (one
pipeline) or ``<!-- rows FAMILY -->`` (all rows against ``supervised``) and ``<!-- end -->``.
"""

import argparse
import csv
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
PATHS = {
    ("data", "init_args", "root"),
    ("model", "init_args", "weights"),
    ("model", "init_args", "init_from"),
    ("model", "init_args", "partner_init_from"),
}
# Steps at the end of a run over which the quality of its pseudo-labels is averaged.
LAST_STEPS = 100


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
    for callback in config["trainer"].get("callbacks") or []:
        callback["init_args"]["dirpath"] = "<run>/earlier"
    config.pop("ckpt_path", None)
    data = config["data"]["init_args"]
    if data.get("pseudo_label_dir"):
        data["pseudo_label_dir"] = "<labels of an earlier step>"
    for key in ("train_split", "predict_split"):
        if Path(str(data.get(key))).is_absolute():
            data[key] = f"<{Path(data[key]).name} of an earlier step>"
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


def add_rows(family: str, folder: Path) -> None:
    """Copy what counts of the finished runs ``<row>/seed<N>`` in a folder."""
    for run in sorted(folder.glob("*/seed*")):
        if run.parent.name == "warm" and int(run.name[4:]) >= 100:
            continue
        # Of a pipeline its last training and the check of it count.
        check = run / "check" if (run / "check").exists() else run
        trained = next((run / step for step in ("final", "student") if (run / step).exists()), run)
        if not (check / "val_results.json").exists():
            print(f"{run} is not finished: left out")
            continue
        target = RESULTS / family / run.parent.name / run.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(check / "val_results.json", target / "val_results.json")
        shutil.copy(trained / "metrics.csv", target / "metrics.csv")
        config = yaml.safe_load((trained / "config.yaml").read_text())
        (target / "config.yaml").write_text(yaml.safe_dump(_without_paths(config)))


def rows_table(family: str) -> str:
    """Markdown table of a family: val mIoU by seed, and differences to the same seed's baseline."""
    scores = {
        row.name: {run.name[4:]: _val_miou(run) for run in sorted(row.glob("seed*"))}
        for row in (RESULTS / family).iterdir()
    }
    seeds = sorted({seed for values in scores.values() for seed in values}, key=int)
    base = scores["supervised"]
    lines = [
        " | ".join(["| row", *(f"seed {seed}" for seed in seeds), "mean", "over supervised"])
        + " | labels right, all / kept | kept |",
        "| --- " * (len(seeds) + 5) + "|",
    ]
    for name, values in sorted(scores.items(), key=lambda item: _order(item[0], item[1], base)):
        cells = [f"{100 * values[seed]:.1f}" if seed in values else "" for seed in seeds]
        mean = f"{100 * statistics.mean(values.values()):.1f}"
        labels = _label_quality(family, name)
        lines.append(f"| {' | '.join([name, *cells, mean, _gain(values, base), *labels])} |")
    return "\n".join(lines)


def _val_miou(run: Path) -> float:
    content = json.loads((run / "val_results.json").read_text())
    return float(content["metrics"]["val/miou"])


def _order(name: str, values: dict[str, float], base: dict[str, float]) -> tuple[int, float]:
    """The warm start and the baseline first, then by the gain."""
    differences = [values[seed] - base[seed] for seed in values if seed in base]
    return (
        {"warm": 0, "supervised": 1}.get(name, 2),
        -statistics.mean(differences) if differences else 0.0,
    )


def _gain(values: dict[str, float], base: dict[str, float]) -> str:
    """Mean and standard deviation of the differences by seed, in points."""
    differences = [100 * (values[seed] - base[seed]) for seed in values if seed in base]
    if not differences or values == base:
        return ""
    if len(differences) == 1:
        return f"{differences[0]:+.1f} (1 seed)"
    return f"{statistics.mean(differences):+.1f} ± {statistics.stdev(differences):.1f}"


def _label_quality(family: str, row: str) -> list[str]:
    """Accuracy of all and of the kept pseudo-labels, and the share kept, over all seeds."""
    keys = ("train/pseudo_acc", "train/pseudo_acc_kept", "train/mask_ratio")
    found: dict[str, list[float]] = {key: [] for key in keys}
    for path in (RESULTS / family / row).glob("seed*/metrics.csv"):
        with path.open(encoding="utf-8") as file:
            content = list(csv.DictReader(file))
        last = max(int(line["step"]) for line in content)
        for line in content:
            for key in keys:
                if int(line["step"]) > last - LAST_STEPS and line.get(key):
                    found[key].append(float(line[key]))
    if not all(found.values()):
        return ["", ""]
    right, kept, share = (f"{100 * statistics.mean(found[key]):.0f}" for key in keys)
    return [f"{right} / {kept}", share]


def tables() -> None:
    """Rewrite the tables of RESULTS.md."""
    pattern = re.compile(r"(<!-- (table|rows) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    make = {"table": table, "rows": rows_table}
    text = PAGE.read_text()
    PAGE.write_text(
        pattern.sub(lambda match: f"{match[1]}{make[match[2]](match[3])}\n{match[4]}", text)
    )


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add")
    adding.add_argument("row")
    adding.add_argument("runs", nargs="+", type=Path)
    adding_rows = commands.add_parser("add-rows")
    adding_rows.add_argument("family")
    adding_rows.add_argument("folder", type=Path)
    commands.add_parser("tables")
    options = parser.parse_args()
    if options.command == "add":
        for run in options.runs:
            add(options.row, run)
    if options.command == "add-rows":
        add_rows(options.family, options.folder)
    tables()


if __name__ == "__main__":
    main()
