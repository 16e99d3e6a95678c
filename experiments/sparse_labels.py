"""Read the runs of sparse labels in experiments/results; plot mIoU against the time of labelling.

python experiments/sparse_labels.py        # writes docs/images/sparse_labels.png
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from wsss_zoo.report.packed_runs import unpacked

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "sparse_labels.png"
#: Rows of the recipe sparse_voc_animals, as its report names them.
PLAIN, OWN = "labelled pixels twice, val", "labels of the first network, val"
FULL = "full masks, val"
#: Seconds that a person needs: a scribble, a point and a full mask of an image by Bearman et al.,
#: ECCV 2016; a box by four clicks on its sides by Papadopoulos et al., ICCV 2017.
SECONDS = {"scribbles": 10.9, "points": 2.4, "boxes": 7.0}
FULL_SECONDS, TAG_SECONDS = 239.7, 20.0
#: Tags alone on the same images: family, row and line of its report.
TAGS = ("tags_rounds", "tags", "labels of the first segmenter, val")


@dataclass(frozen=True)
class Kind:
    """One kind of labels: mIoU on val, a value for each seed.

    Args:
        name: Name of the row.
        shapes: Shapes that were drawn in an image, as mean; None if there is no count.
        seconds: Time of a person for an image; None if nobody has measured such shapes.
        plain: Labelled pixels twice.
        own: Labels of the first network.
        full: All masks, which one kind of a seed may have run for all kinds.
    """

    name: str
    shapes: float | None
    seconds: float | None
    plain: list[float]
    own: list[float]
    full: list[float]

    @property
    def gains(self) -> list[float]:
        """Difference of the rows, seed by seed."""
        return [own - plain for own, plain in zip(self.own, self.plain, strict=True)]

    @property
    def shares(self) -> list[float]:
        """Share of full masks, seed by seed."""
        return [own / full for own, full in zip(self.own, self.full, strict=True)]


def read_kinds(results: Path) -> list[Kind]:
    """Read all kinds, the best first."""
    full = _full_by_seed(results)
    kinds = [_read_kind(row, full) for row in sorted(results.iterdir()) if row.is_dir()]
    return sorted(kinds, key=lambda kind: -statistics.mean(kind.own))


def read_full(results: Path) -> list[float]:
    """Read the row of all masks, a value for each seed."""
    return [value for _, value in sorted(_full_by_seed(results).items())]


def _full_by_seed(results: Path) -> dict[str, float]:
    full: dict[str, float] = {}
    for summary in sorted(results.glob("*/seed*/summary.json")):
        report = json.loads(summary.read_text())["report"]
        if FULL in report:
            full[summary.parent.name] = report[FULL]
    return full


def _read_kind(row: Path, full: dict[str, float]) -> Kind:
    seeds = sorted(row.glob("seed*"))
    reports = [json.loads((seed / "summary.json").read_text())["report"] for seed in seeds]
    plain, own = ([report[name] for report in reports] for name in (PLAIN, OWN))
    drawn = seeds[0] / "drawn" / "simulation.json"
    shapes = None
    if drawn.exists():
        settings = json.loads(drawn.read_text())
        shapes = settings["shapes"] / len(settings["image_ids"])
    seconds = SECONDS[row.name] * shapes if shapes and row.name in SECONDS else None
    return Kind(row.name, shapes, seconds, plain, own, [full[seed.name] for seed in seeds])


def draw(kinds: list[Kind], full: list[float], tags: list[float], path: Path) -> None:
    """Plot the means of both rows of each kind, tags and full masks, mIoU in percent."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150)
    axes = figure.add_subplot(
        xlabel="seconds of labelling an image", ylabel="val mIoU, %", xscale="log"
    )
    timed = sorted((kind for kind in kinds if kind.seconds), key=lambda kind: kind.seconds or 0)
    seconds = [kind.seconds or 0 for kind in timed]
    for label, style, rows in (
        ("labelled pixels alone", "C7o--", [kind.plain for kind in timed]),
        ("labels of the first network", "C0o-", [kind.own for kind in timed]),
    ):
        means = [100 * statistics.mean(row) for row in rows]
        spread = [100 * statistics.stdev(row) if len(row) > 1 else 0 for row in rows]
        axes.errorbar(seconds, means, spread, fmt=style, capsize=3, label=label)
    for kind, x in zip(timed, seconds, strict=True):
        place = (x, 100 * statistics.mean(kind.own))
        axes.annotate(kind.name, place, xytext=(0, 9), textcoords="offset points", ha="center")
    for name, x, row in (
        ("tags", TAG_SECONDS, tags),
        ("full masks", FULL_SECONDS, full),
    ):
        axes.plot(x, 100 * statistics.mean(row), "C3s")
        place = (x, 100 * statistics.mean(row))
        axes.annotate(name, place, xytext=(0, 9), textcoords="offset points", ha="center")
    axes.margins(0.15)
    axes.set_xticks([5, 10, 20, 50, 100, 240], ["5", "10", "20", "50", "100", "240"], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)


def read_tags() -> list[float]:
    """Read the row of tags on the same images."""
    family, row, line = TAGS
    places = sorted((unpacked(HERE / "results" / family)[0] / row).glob("seed*/summary.json"))
    return [json.loads(place.read_text())["report"][line] for place in places]


if __name__ == "__main__":
    RUNS = unpacked(HERE / "results" / "sparse")[0]
    draw(read_kinds(RUNS), read_full(RUNS), read_tags(), PICTURE)
