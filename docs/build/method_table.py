"""Write the table of methods in README.md and docs/ from the heads of the methods' pages.

    python docs/build/method_table.py        # rewrite the table of README.md

All numbers come from the kept runs in ``experiments/results``.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from wsss_zoo.report.packed_runs import unpacked

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "methods"
RESULTS = ROOT / "experiments" / "results"
#: The row that the others of a family are compared with, seed by seed.
BASELINE = "supervised"
_TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- end of methods -->)", re.DOTALL)


def read_head(page: Path) -> dict[str, Any]:
    """Read the YAML between the first two lines of dashes of a page."""
    head: dict[str, Any] = yaml.safe_load(page.read_text(encoding="utf-8").split("---\n")[1])
    return head


def read_heads() -> dict[str, dict[str, Any]]:
    """Read the head of each method's page, by name of the page, sorted by ``place``."""
    pages = [page for page in PAGES.glob("*.md") if page.stem != "index"]
    heads = {page.stem: read_head(page) for page in pages}
    return dict(sorted(heads.items(), key=lambda item: item[1]["place"]))


class Measurement(NamedTuple):
    """Measurement of a method in one family of kept runs.

    Args:
        row: Name of the row; "" for that of a pipeline.
        values: Per seed: difference in val mIoU (points) to the baseline, or mIoU of a pipeline in
            percent.
        labels: Labels that the runs learn from; "" for a pipeline.
        masks: Number of masks that the runs learn from, 0 if unknown.
    """

    row: str
    values: list[float]
    labels: str = ""
    masks: int = 0

    @property
    def mean(self) -> str:
        """Mean and standard deviation over the seeds; a difference has a sign."""
        spread = f" ± {statistics.stdev(self.values):.1f}" if len(self.values) > 1 else ""
        return f"{statistics.mean(self.values):{'+' if self.row else ''}z.1f}{spread}"

    @property
    def seeds(self) -> str:
        """Number of seeds."""
        return f"{len(self.values)} seed{'s' * (len(self.values) > 1)}"


def measured(head: dict[str, Any], results: Path = RESULTS) -> list[str]:
    """Phrase the measurements of a method, one per family of kept runs."""
    phrases = []
    for found in measurements(head, results):
        if not found.row:
            phrases.append(f"{found.mean} mIoU of the segmenter ({found.seeds})")
            continue
        name = "" if found.row == head["rows"][0] else f"{found.row}: "
        phrases.append(f"{name}{found.mean} ({found.labels}, {found.seeds})")
    return phrases


def one_number(head: dict[str, Any], results: Path = RESULTS) -> str:
    """Phrase the main measurement of a method, "" if there is none.

    A pipeline comes first. Otherwise it is the first row in the family with most seeds, then masks.
    """
    found = measurements(head, results)
    main = [one for one in found if one.row in ("", *head.get("rows", [])[:1])]
    if not main:
        return ""
    best = max(main, key=lambda one: (not one.row, len(one.values), one.masks))
    if not best.row:
        return f"{best.mean} % mIoU ({best.seeds})"
    return f"{best.mean} points ({best.labels}, {best.seeds})"


def measurements(head: dict[str, Any], results: Path = RESULTS) -> list[Measurement]:
    """Read the measurements of a method from the kept runs.

    Args:
        head: Its ``rows`` are names of rows in families with a baseline, its ``pipeline`` is
            [folder of the kept runs, number of their report].
        results: Folder of the kept runs.
    """
    found = []
    if "pipeline" in head:
        place, name = head["pipeline"]
        runs = sorted(unpacked(results / place)[0].glob("seed*/summary.json"))
        values = [100 * json.loads(run.read_text())["report"][name] for run in runs]
        found.append(Measurement("", values))
    baselines = [path for place in unpacked(results) for path in place.glob(f"*/{BASELINE}")]
    for family in sorted(path.parent for path in baselines):
        found += [_gains(family, row) for row in head.get("rows", [])]
    return [one for one in found if one.values]


def _gains(family: Path, row: str) -> Measurement:
    """Differences in val mIoU (points) to the baseline of the same seed, and the labels of both."""
    gains, labels, masks = [], "", 0
    for run in sorted((family / row).glob("seed*")):
        base = family / BASELINE / run.name
        if run != base and (base / "val_results.json").exists():
            gains.append(100 * (_miou(run) - _miou(base)))
            config = yaml.safe_load((run / "config.yaml").read_text())
            given = config["data"]["init_args"]["labeled_split"]
            number = str(given).removeprefix("labeled_")
            labels = f"{'all' if given == 'train' else number} masks" if given else "CAM labels"
            masks = int(number) if number.isdecimal() else 0
    return Measurement(row, gains, labels, masks)


def _miou(run: Path) -> float:
    return float(json.loads((run / "val_results.json").read_text())["metrics"]["val/miou"])


def paper_scale(head: dict[str, Any]) -> str:
    """Tell whether the paper-scale configuration was run, from its first line."""
    first = (ROOT / head["config"]).read_text(encoding="utf-8").splitlines()[0]
    return "not run" if "not run" in first else "run"


def methods_table(pages: str, results: str) -> str:
    """Write a Markdown table of all methods: labels, one number and a verdict each.

    Args:
        pages: Prefix of links to pages.
        results: Target of links of measured numbers.
    """
    header = ["method", "labels it needs", "measured", "does what its paper says"]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for name, head in read_heads().items():
        number = one_number(head)
        cells = [
            f"[{head['title']}]({pages}{name}.md)",
            head["labels"],
            f"[{number}]({results})" if number else "not yet",
            head["verdict"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts_table() -> str:
    """Write a Markdown table of what each method claims, and whether it was seen to do it."""
    lines = ["| method | what should help | was it seen? |", "| --- | --- | --- |"]
    lines += [f"| {h['title']} | {h['claim']} | {h['verdict']} |" for h in read_heads().values()]
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """Return README's text with the current table."""
    table = methods_table("docs/methods/", "experiments/RESULTS.md")
    return _TABLE.sub(lambda match: f"{match[1]}{table}\n{match[2]}", readme)


def main() -> None:
    """Rewrite the table of README.md."""
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
