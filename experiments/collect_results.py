"""Keep the small files of counted runs; write the tables of RESULTS.md with `wsss-zoo compare`.

    python experiments/collect_results.py add FAMILY/ROW RUN [RUN ...]   # folders of pipelines
    python experiments/collect_results.py add-rows FAMILY FOLDER         # of semi_rows.py
    python experiments/collect_results.py add-steps FAMILY RUN [RUN ...] # X and X_val of pipelines
    python experiments/collect_results.py add-memory FAMILY BENCHMARK   # of `make bench`
    python experiments/collect_results.py tables                        # rewrite RESULTS.md
    python experiments/collect_results.py unpack FAMILY FOLDER          # to inspect the kept files

A run is kept as ``<row>/seed<N>`` in ``experiments/results/<family>.runs.zip``. The name of an
option replaces each path of the machine that the run used. ``wsss-zoo compare`` reads such a file
like a folder. ``unpack`` writes it as a folder.

Tables stand between ``<!-- KIND NAME -->`` and ``<!-- end -->``. Kinds of tables:

* ``table FAMILY/ROW``: one pipeline.
* ``rows FAMILY``: all rows compared with ``supervised`` (weak-shot rows with ``masks``).
* ``classes FAMILY``: IoU per class.
* ``pretext FAMILY``: accuracy of a pretext task.
* ``memory FAMILY``: memory measured by the benchmarks.
* ``verdicts PAGES``: what each method claims, and whether it was seen, of the methods' pages.
* ``estimates FAMILY``: rank correlation of what labels say without masks with their mIoU.
* ``labels FAMILY``: kinds of sparse labels, with the time they take and their share of full masks.
"""

import argparse
import importlib.util
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import spearmanr

from wsss_zoo.report.command import table as compared_table
from wsss_zoo.report.packed_runs import SUFFIX, pack, unpack, unpacked
from wsss_zoo.runs import read_metrics

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE / "RESULTS.md"
METHOD_TABLE = HERE.parent / "docs" / "build" / "method_table.py"
KEPT = (
    "step.yaml",
    "metrics.csv",
    "val_results.json",
    "pseudo_labels/manifest.json",
    "pseudo_labels/quality.json",
    "graphs/quality.json",
    "noise/threshold.json",
    "labels/simulation.json",
)
PATHS = {
    ("data", "init_args", "root"),
    ("model", "init_args", "weights"),
    ("model", "init_args", "init_from"),
    ("model", "init_args", "partner_init_from"),
    ("data", "init_args", "sparse_dir"),
    ("labels", "saliency_dir"),
}
# Name of the measure in the memory benchmarks.
_MEMORY = "MB over Supervised"
# Measured in validation in addition to the mIoU.
SMALL_OBJECTS = "val/small_recall"
# If some classes have tags only. Rows are compared by the first.
WEAK_SHOT = ("val/miou_novel", "val/miou_base", "val/miou_harmonic")
# What `predict` says about labels without masks.
ESTIMATES = tuple(
    f"estimate/{name}"
    for name in ("separation", "agreement", "confidence", "coverage", "missing", "missing_images")
)
# Accuracy of all and of the kept pseudo-labels, and share of kept pixels.
LABEL_QUALITY = ("train/pseudo_acc", "train/pseudo_acc_kept", "train/mask_ratio")


@contextmanager
def unpacked_family(family: str) -> Iterator[Path]:
    """Unpack a family of runs, new or kept, and pack it again after the block."""
    archive = RESULTS / f"{family}{SUFFIX}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if archive.exists():
            unpack(archive, folder)
        yield folder
        pack(folder, archive)


def kept(place: str) -> Path:
    """Return a folder with the kept files of a family, or of a row ``FAMILY/ROW``, to read."""
    return unpacked(RESULTS / place)[0]


def add(row: str, run: Path) -> None:
    """Copy the counted files of a finished pipeline."""
    family, _, name = row.partition("/")
    with unpacked_family(family) as folder:
        _add_pipeline(folder / name, run)


def _add_pipeline(row: Path, run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    # Steps that write maps or sparse labels have no configuration of a run.
    runs = [step for step in summary["steps"] if (run / step / "config.yaml").exists()]
    seeds = {_config(run / step)["seed_everything"] for step in runs}
    if len(seeds) != 1:
        raise SystemExit(f"{run}: its steps have the seeds {sorted(seeds)}; run them with one seed")
    target = row / f"seed{seeds.pop()}"
    if target.exists():
        shutil.rmtree(target)
    for step in summary["steps"]:
        folder = target / step
        folder.mkdir(parents=True)
        if step in runs:
            config = _without_paths(_config(run / step))
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
        for name in KEPT[1:]:
            if (run / step / name).exists():
                kept = name.replace("/", "_") if "graphs" in name else Path(name).name
                shutil.copy(run / step / name, folder / kept)
    (target / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def _config(step: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((step / "config.yaml").read_text())
    return content


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Replace paths of the machine that the run used."""
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
    given = data.get("pseudo_label_dir")
    if given:
        steps = [f"<labels of step {Path(folder).parent.name}>" for folder in _listed(given)]
        data["pseudo_label_dir"] = steps if isinstance(given, list) else steps[0]
    for key in ("train_split", "predict_split", "unlabeled_split"):
        if Path(str(data.get(key))).suffix:
            data[key] = f"<list {Path(data[key]).name}>"
    for group, key in (
        (data, "graph_dir"),
        (config.get("noise", {}), "pseudo_label_dir"),
        (config.get("graphs", {}), "pseudo_label_dir"),
        (config.get("graphs", {}), "threshold"),
    ):
        if group.get(key):
            group[key] = f"<{Path(group[key]).name} of an earlier step>"
    return config


def _listed(value: list[str] | str) -> list[str]:
    return value if isinstance(value, list) else [value]


def table(row: str) -> str:
    """Write a Markdown table of pipelines, one column per seed; CAM mIoU at untuned thresholds."""
    with_sweep = {
        path.parent.name
        for path in sorted(kept(row).glob("seed*/*/quality.json"))
        if "sweep" in json.loads(path.read_text())
    }
    metrics = [
        f"{step}:pseudo/cam_miou_at_{threshold}"
        for step in sorted(with_sweep)
        for threshold in ("0.3", "0.4")
    ]
    return _compared(row, metrics)


def _compared(place: str, metrics: list[str], *options: str) -> str:
    """Return the output of ``wsss-zoo compare`` for kept runs, and the command."""
    options = (*options, "--by-seed", *(part for name in metrics for part in ("--metric", name)))
    command = ["wsss-zoo", "compare", f"experiments/results/{place}", *options, "--markdown"]
    return f"{compared_table([str(RESULTS / place), *options])}\n\n`{shlex.join(command)}`"


def add_rows(family: str, folder: Path) -> None:
    """Copy the counted files of the finished runs ``<row>/seed<N>`` in a folder."""
    with unpacked_family(family) as kept_family:
        _add_rows(kept_family, folder)


def _add_rows(kept_family: Path, folder: Path) -> None:
    for run in sorted(folder.glob("*/seed*")):
        # Warm starts of second networks and of other encoders are not rows.
        other_start = run.parent.name.startswith("warm_")
        if other_start or (run.parent.name == "warm" and int(run.name[4:]) >= 100):
            continue
        # In a pipeline only the last training and its check count.
        check = run / "check" if (run / "check").exists() else run
        trained = next((run / step for step in ("final", "student") if (run / step).exists()), run)
        if not (check / "val_results.json").exists():
            print(f"{run} is not finished: left out")
            continue
        _keep_row(kept_family / run.parent.name / run.name, trained, check)


def add_steps(family: str, run: Path) -> None:
    """Copy the counted files of each training ``X`` of a pipeline with a check ``X_val``."""
    with unpacked_family(family) as kept_family:
        _add_steps(kept_family, run)


def _add_steps(kept_family: Path, run: Path) -> None:
    for check in sorted(run.glob("*_val")):
        trained = run / check.name.removesuffix("_val")
        if not (trained / "done.json").exists() or not (check / "val_results.json").exists():
            print(f"{trained} is not finished: left out")
            continue
        row = "supervised" if trained.name == "plain" else trained.name
        seed = _config(trained)["seed_everything"]
        _keep_row(kept_family / row / f"seed{seed}", trained, check)


def _keep_row(target: Path, trained: Path, check: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(check / "val_results.json", target / "val_results.json")
    shutil.copy(trained / "metrics.csv", target / "metrics.csv")
    (target / "config.yaml").write_text(yaml.safe_dump(_without_paths(_config(trained))))


def rows_table(family: str) -> str:
    """Write a Markdown table of a family: val mIoU per seed, difference to the baseline."""
    logged: set[str] = set()
    for path in kept(family).glob("*/seed*/metrics.csv"):
        logged |= {name for row in read_metrics(path) for name in row}
    validated = _validated(family)
    if WEAK_SHOT[0] in validated:
        return _compared(family, [*WEAK_SHOT, "val/miou"], "--baseline", "masks")
    metrics = ["val/miou", *(name for name in LABEL_QUALITY if name in logged)]
    if SMALL_OBJECTS in validated:
        metrics.append(SMALL_OBJECTS)
    return _compared(family, metrics, "--baseline", "supervised")


def classes_table(family: str) -> str:
    """Write a Markdown table of a family: IoU per class, mean over seeds."""
    names = [name for name in _validated(family) if name.startswith("val/iou/")]
    return _compared(family, ["val/miou", *names])


def _validated(family: str) -> list[str]:
    """Return the names of the metrics that the checks of a family measured."""
    found = sorted(kept(family).glob("*/seed*/val_results.json"))
    return sorted(json.loads(found[0].read_text())["metrics"]) if found else []


def pretext_table(family: str) -> str:
    """Write a Markdown table of the accuracy of pretext tasks, and of guessing."""
    names = ("train/infonce_acc", "val/infonce_acc", "val/infonce_chance")
    return _compared(family, list(names))


def add_memory(family: str, benchmark: Path) -> None:
    """Keep the memory that the benchmarks of a family measured."""
    file = RESULTS / f"{family}_memory.json"
    measured = json.loads(file.read_text()) if file.exists() else {}
    for row in json.loads(benchmark.read_text())["rows"]:
        if row["what"] == _MEMORY:
            measured[row["case"]] = round(row["value"])
    file.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")


def memory_table(family: str) -> str:
    """Write a Markdown table of peak memory above that of ``Supervised``."""
    measured = json.loads((RESULTS / f"{family}_memory.json").read_text())
    rows = [f"| {name} | {extra} |" for name, extra in sorted(measured.items())]
    return "\n".join(["| method | MB over Supervised |", "| --- | --- |", *rows])


def estimates_table(family: str) -> str:
    """Write a Markdown table of Spearman's rank correlation of estimates with the labels' mIoU."""
    folders = sorted({path.parent for path in kept(family).rglob("quality.json")})
    measured = [json.loads((folder / "quality.json").read_text())["metrics"] for folder in folders]
    measured = [metrics for metrics in measured if "pseudo/miou" in metrics]
    lines = [
        "| estimate | rank correlation with `pseudo/miou` | folders of labels |",
        "| --- | --- | --- |",
    ]
    for name in ESTIMATES:
        estimated = [metrics[name] for metrics in measured if name in metrics]
        miou = [metrics["pseudo/miou"] for metrics in measured if name in metrics]
        if len(set(estimated)) > 2:
            correlation = spearmanr(estimated, miou).statistic
            lines.append(f"| `{name}` | {correlation:+.2f} | {len(miou)} |")
    return "\n".join(lines)


def labels_table(family: str) -> str:
    """Write a Markdown table of kinds of labels: mIoU of both rows, and share of full masks."""
    lines = [
        "| labels | shapes an image | s an image | labelled pixels twice "
        "| labels of the first network | difference | of full masks |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    labels = _module(HERE / "sparse_labels.py")
    for kind in labels.read_kinds(kept(family)):
        shapes = "" if kind.shapes is None else f"{kind.shapes:.1f}"
        seconds = "" if kind.seconds is None else f"{kind.seconds:.0f}"
        cells = [shapes, seconds, _mean(kind.plain, ".3f", 1), _mean(kind.own, ".3f", 1)]
        cells += [_mean(kind.gains, "+.1f", 100), _mean(kind.shares, ".1f", 100) + " %"]
        lines.append(" | ".join([f"| {kind.name}", *cells]) + " |")
    full = labels.read_full(kept(family))
    drawn = labels.FULL_SECONDS
    lines.append(f"| full masks | | {drawn:.0f} | {_mean(full, '.3f', 1)} | | | |")
    return "\n".join(lines)


def _module(path: Path) -> Any:
    """Import a file beside this one or of the pages."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _mean(values: Sequence[float], style: str, factor: float) -> str:
    """Write the values of the seeds, their mean and standard deviation."""
    scaled = [factor * value for value in values]
    each = " ".join(format(value, style) for value in scaled)
    if len(scaled) < 2:
        return each
    spread = format(statistics.stdev(scaled), style.lstrip("+"))
    return f"{each} = {format(statistics.mean(scaled), style)} ± {spread}"


def verdicts_table(pages: str) -> str:
    """Write a Markdown table of what the methods' pages (``methods``) claim, and what was seen."""
    return str(_module(METHOD_TABLE).verdicts_table())


TABLES = {
    "table": table,
    "rows": rows_table,
    "classes": classes_table,
    "pretext": pretext_table,
    "memory": memory_table,
    "estimates": estimates_table,
    "labels": labels_table,
    "verdicts": verdicts_table,
}


def tables() -> None:
    """Rewrite the tables of RESULTS.md and the one of README.md."""
    pattern = re.compile(rf"(<!-- ({'|'.join(TABLES)}) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
    text = PAGE.read_text()
    PAGE.write_text(
        pattern.sub(lambda match: f"{match[1]}{TABLES[match[2]](match[3])}\n{match[4]}", text)
    )
    subprocess.run([sys.executable, METHOD_TABLE], check=True)


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
    adding_steps = commands.add_parser("add-steps")
    adding_steps.add_argument("family")
    adding_steps.add_argument("runs", nargs="+", type=Path)
    adding_memory = commands.add_parser("add-memory")
    adding_memory.add_argument("family")
    adding_memory.add_argument("benchmark", type=Path)
    commands.add_parser("tables")
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("family")
    unpacking.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "unpack":
        unpack(RESULTS / f"{options.family}{SUFFIX}", options.folder)
        return
    if options.command == "add":
        for run in options.runs:
            add(options.row, run)
    if options.command == "add-rows":
        add_rows(options.family, options.folder)
    if options.command == "add-steps":
        for run in options.runs:
            add_steps(options.family, run)
    if options.command == "add-memory":
        add_memory(options.family, options.benchmark)
    tables()


if __name__ == "__main__":
    main()
