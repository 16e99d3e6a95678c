"""Reading 500 runs and writing their page."""

from time import process_time

import numpy as np
import pytest
import yaml

from tests.report.run_folders import write_results
from wsss_zoo.cli import main

GROUPS, SEEDS, ROWS = 100, 5, 150
NAMES = ["background", *(f"class {number}" for number in range(20))]
LIMIT, LARGEST = 10, 3e6


def write_runs(root, groups=GROUPS):
    """A sweep: so many learning rates, 5 seeds, configurations and metrics as long as real ones."""
    rng = np.random.default_rng(0)
    columns = [f"train/loss_{number}" for number in range(6)]
    columns += [f"val/iou/{name}" for name in NAMES]
    empty = "," * (len(NAMES) + 1)
    others = {f"option_{number}": {"value": number, "list": [1, 2]} for number in range(50)}
    for group in range(groups):
        for seed in range(SEEDS):
            run = root / f"sweep{group}x" / f"seed{seed}"
            run.mkdir(parents=True)
            model = {"class_path": "wsss_zoo.FixMatch", "init_args": {"lr": 1e-4 * group, **others}}
            config = {"seed_everything": seed, "trainer": {"max_steps": 1500}, "model": model}
            (run / "config.yaml").write_text(yaml.safe_dump(config))
            lines = [f"epoch,step,{','.join(columns)},val/miou"]
            for row, values in enumerate(rng.random((ROWS, 6)).tolist()):
                lines.append(f"0.0,{10 * row + 9},{','.join(map(str, values))}{empty}")
            iou = ",".join(map(str, rng.random(len(NAMES)).tolist()))
            lines.append(f"0.0,{10 * ROWS - 1},{',' * 5},{iou},0.5")
            (run / "metrics.csv").write_text("\n".join(lines) + "\n")
            write_results(run, float(rng.random()), NAMES)


@pytest.mark.benchmark
def test_five_hundred_runs(tmp_path, capsys, measured):
    write_runs(tmp_path / "runs")
    page = tmp_path / "report.html"
    args = [str(tmp_path / "runs"), "--html", str(page), "--json", str(tmp_path / "all.json")]
    start = process_time()
    main(["compare", *args, "--baseline", "sweep0x"])
    seconds = process_time() - start
    size = page.stat().st_size
    capsys.readouterr()
    assert "500 runs in 100 groups" in page.read_text()
    measured("500 runs, s", seconds, at_most=LIMIT)
    measured("MB of the page", size / 1e6, at_most=LARGEST / 1e6)
