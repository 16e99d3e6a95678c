"""Plot mIoU against the number of strong masks, for the label-noise runs in experiments/results.

python experiments/plot_strong_masks.py        # writes docs/images/strong_masks.png
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from wsss_zoo.report.packed_runs import unpacked

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "strong_masks.png"
#: Name in a report and line style. Dashed: labels of the weak images; solid: segmenters on val.
LINES = {
    "CAM": "C7--",
    "clean net": "C0--",
    "GAT + CRF": "C3--",
    "val, strong only": "C0-",
    "val, GAT + CRF": "C3-",
}


def read_counts(results: Path) -> dict[int, dict[str, float]]:
    """Reports of seed 0 by the number of strong masks, from ``labeled_<number>/seed0``."""
    runs = {int(path.name.split("_")[1]): path for path in results.glob("labeled_*")}
    return {
        count: json.loads((runs[count] / "seed0" / "summary.json").read_text())["report"]
        for count in sorted(runs)
    }


def draw(counts: dict[int, dict[str, float]], path: Path) -> None:
    """One line per kind of label or segmenter, mIoU in percent."""
    figure = Figure(figsize=(5.6, 3.6), dpi=150)
    axes = figure.add_subplot(xlabel="strong masks", ylabel="mIoU, %", xticks=list(counts))
    for name, style in LINES.items():
        values = [100 * report[name] for report in counts.values()]
        kind = "" if name.startswith("val, ") else "labels: "
        axes.plot(list(counts), values, style, marker="o", label=kind + name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    draw(read_counts(unpacked(HERE / "results" / "label_noise")[0]), PICTURE)
