"""The table of methods in README.md and in these pages, from the heads of the methods' pages.

    python docs/method_table.py        # rewrite the table of README.md

No number in it is typed: what was measured comes from the kept runs in ``experiments/results``.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "methods"
RESULTS = ROOT / "experiments" / "results"
#: The row that the others of a family are compared with, seed by seed.
BASELINE = "supervised"
_TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- end of methods -->)", re.DOTALL)


def read_head(page: Path) -> dict[str, Any]:
    """YAML between the first two lines of dashes of a page."""
    head: dict[str, Any] = yaml.safe_load(page.read_text(encoding="utf-8").split("---\n")[1])
    return head


def read_heads() -> dict[str, dict[str, Any]]:
    """Head of each method's page, by the page's name, in the order of their ``place``."""
    pages = [page for page in PAGES.glob("*.md") if page.stem != "index"]
    heads = {page.stem: read_head(page) for page in pages}
    return dict(sorted(heads.items(), key=lambda item: item[1]["place"]))


def measured(head: dict[str, Any], results: Path = RESULTS) -> list[str]:
    """What the kept runs say of a method, one phrase for each family of runs that has it.

    Args:
        head: Its ``rows`` are names of rows in families with a baseline, its ``pipeline`` is
            [folder of the kept runs, number of their report].
        results: Folder of the kept runs.
    """
    phrases = []
    if "pipeline" in head:
        folder, name = head["pipeline"]
        runs = sorted((results / folder).glob("seed*/summary.json"))
        values = [100 * json.loads(run.read_text())["report"][name] for run in runs]
        if values:
            phrases.append(f"{_mean(values, '')} mIoU of the segmenter ({_seeds(values)})")
    for family in sorted(path.parent for path in results.glob(f"*/{BASELINE}")):
        for row in head.get("rows", []):
            gains, labels = _gains(family, row)
            if gains:
                name = "" if row == head["rows"][0] else f"{row}: "
                phrases.append(f"{name}{_mean(gains, '+')} ({labels}, {_seeds(gains)})")
    return phrases


def _gains(family: Path, row: str) -> tuple[list[float], str]:
    """Points of val mIoU over the baseline of the same seed, and the labels that both have."""
    gains, labels = [], ""
    for run in sorted((family / row).glob("seed*")):
        base = family / BASELINE / run.name
        if run != base and (base / "val_results.json").exists():
            gains.append(100 * (_miou(run) - _miou(base)))
            config = yaml.safe_load((run / "config.yaml").read_text())
            given = config["data"]["init_args"]["labeled_split"]
            labels = f"{str(given).removeprefix('labeled_')} masks" if given else "CAM labels"
    return gains, labels


def _miou(run: Path) -> float:
    return float(json.loads((run / "val_results.json").read_text())["metrics"]["val/miou"])


def _mean(values: list[float], sign: str) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{spread}"


def _seeds(values: list[float]) -> str:
    return f"{len(values)} seed{'s' * (len(values) > 1)}"


def paper_scale(head: dict[str, Any]) -> str:
    """Whether the paper-scale configuration was run, as its first line says."""
    first = (ROOT / head["config"]).read_text(encoding="utf-8").splitlines()[0]
    return "not run" if "not run" in first else "run"


def methods_table(pages: str, results: str, files: str | None) -> str:
    """Markdown table of all methods.

    Args:
        pages: What stands before a page's name in links to it.
        results: Where a measured number links to.
        files: What stands before a configuration's path in links to it; None for no links.
    """
    lines = [
        "| method | paper | labels it needs | configuration | measured | at paper scale |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, head in read_heads().items():
        found = "; ".join(measured(head))
        config = Path(head["config"])
        place = config.relative_to("experiments").with_suffix("").as_posix()
        cells = [
            f"[{head['title']}]({pages}{name}.md)",
            head["paper"],
            head["labels"],
            f"`{place}`" if files is None else f"[`{place}`]({files}{head['config']})",
            f"[{found}]({results})" if found else "not yet",
            paper_scale(head),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """README's text with the table as it is now."""
    table = methods_table("docs/methods/", "experiments/RESULTS.md", "")
    return _TABLE.sub(lambda match: f"{match[1]}{table}\n{match[2]}", readme)


def main() -> None:
    """Rewrite the table of README.md."""
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
