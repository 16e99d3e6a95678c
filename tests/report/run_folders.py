"""Run folders as the command line leaves them, without training anything."""

import json
from pathlib import Path

import numpy as np
import yaml

from wsss_zoo.report.comparison import compare
from wsss_zoo.report.find_runs import find_runs
from wsss_zoo.report.page import page
from wsss_zoo.report.page.examples import collect_examples

NAMES = ["background", "cat", "dog"]


def page_of(*folders, section=None, **options):
    """The page of all runs in some folders, or what it says under one heading."""
    comparison = compare(find_runs(folders), **options)
    html = page(comparison, collect_examples(comparison), "wsss-zoo compare x")
    if section is None:
        return html
    return html.partition(f'<section id="{section}">')[2].partition("</section>")[0]


def config(method="Supervised", seed=0, *, folder="runs/x", data=None, trainer=None, **model):
    return {
        "seed_everything": seed,
        "trainer": {"max_steps": 40, "log_every_n_steps": 10, "default_root_dir": str(folder)}
        | (trainer or {}),
        "model": {"class_path": f"wsss_zoo.{method}", "init_args": {"lr": 0.1} | model},
        "data": {
            "class_path": "wsss_zoo.Shapes",
            "init_args": {"num_workers": 0, "val_split": "val"} | (data or {}),
        },
        "evaluation": {"crf": False},
        "ckpt_path": None,
    }


def write_run(
    folder, method="Supervised", seed=0, miou=0.5, *, names=NAMES, steps=40, results=True, **options
):
    """A finished run; ``steps`` less than 40 is one that was stopped."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_dump(config(method, seed, folder=folder, **options))
    (folder / "config.yaml").write_text("# wsss-zoo fit\n" + content)
    lines = ["epoch,step,train/loss,val/miou"]
    lines += [f"0.0,{step},{1 / (step + 1)}," for step in range(9, steps, 10)]
    lines.append(f"0.0,{steps - 1},,{miou - 0.1}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if results:
        write_results(folder, miou, names, method)
    return folder


def write_results(folder, miou, names=NAMES, method="Supervised"):
    confusion = np.full((len(names), len(names)), 3) + np.diag([100] * len(names))
    metrics = {"val/miou": miou, "val/pixel_acc": 0.9}
    metrics |= {f"val/iou/{name}": miou for name in names}
    content = {
        "stage": "val",
        "method": method,
        "class_names": list(names),
        "metrics": metrics,
        "confusion": confusion.tolist(),
    }
    (folder / "val_results.json").write_text(json.dumps(content))


def write_pipeline(root, seed=0, *, recipe="st", finished=True):
    """Two stages: one that trains, one that measures; unfinished the second has only begun."""
    root = Path(root)
    train = write_run(root / "teacher", seed=seed, results=False)
    check = root / "check"
    if finished:
        write_run(check, seed=seed, miou=0.4 + seed / 10)
    else:
        check.mkdir()
    for place, stage in enumerate((train, check)):
        (stage / "started.json").write_text("{}")
        (stage / "step.yaml").write_text(f"# {recipe}, step {stage.name}: wsss-zoo fit\n{{}}\n")
        if finished or place == 0:
            (stage / "done.json").write_text(json.dumps({"seconds": 7.5, "resumed": place == 1}))
    steps = {
        "teacher": {"command": "fit", "seconds": 7.5, "resumed": False, "metrics": {}},
        "check": {"command": "validate", "seconds": 7.5, "resumed": True, "metrics": {}},
    }
    if finished:
        report = {"segmenter mIoU": 0.4 + seed / 10, "not measured": None}
        content = {"recipe": recipe, "report": report, "steps": steps}
        (root / "summary.json").write_text(json.dumps(content))
    return root
