"""``wsss-zoo compare``: runs side by side, on the terminal and in one HTML page."""

import argparse
import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from wsss_zoo.report import comparison
from wsss_zoo.report.comparison import Comparison
from wsss_zoo.report.find_runs import Found, find_runs
from wsss_zoo.report.packed_runs import origin
from wsss_zoo.report.runs import read_json
from wsss_zoo.report.tables import (
    csv_text,
    json_text,
    markdown_table,
    pipeline_table,
    print_comparison,
)


def main(args: list[str]) -> int:
    """Run ``wsss-zoo compare`` with the arguments after ``compare``; see `compare` for errors."""
    options = _parser().parse_args(args)
    compare(**vars(options), command=shlex.join(["wsss-zoo", "compare", *args]))
    return 0


def compare(
    runs: Sequence[Path],
    baseline: str | None = None,
    metric: Sequence[str] = (),
    confidence: float = 0.95,
    json: Path | None = None,
    csv: Path | None = None,
    markdown: str | None = None,
    by_seed: bool = False,
    html: Path = Path("report.html"),
    no_html: bool = False,
    num_images: int = 4,
    command: str = "",
) -> None:
    """Compare runs: print a table, write a page and other files.

    Args:
        runs: Folders of runs or of pipelines, or folders that hold such.
        baseline: Group, run or method to compare to; may hold ``*``.
        metric: Metrics of the columns; empty takes the most telling that there are.
        confidence: Of the intervals, in (0, 1).
        json: File for everything as JSON.
        csv: File for the table as CSV.
        markdown: File for the table as Markdown; "-" prints it and nothing else.
        by_seed: In Markdown a column for each seed.
        html: File for the page.
        no_html: Write no page.
        num_images: Example images on the page.
        command: Command line that the page names as its own.

    Raises:
        FileNotFoundError: If a folder does not exist.
        OSError: If a file cannot be written.
        ValueError: If there is no run in the folders, no such baseline or metric.
    """
    console = Console(highlight=False)
    found, compared = _compared(runs, baseline, metric, confidence)
    text = "" if markdown is None else _markdown(compared, found, metric, by_seed=by_seed)
    if markdown == "-":
        print(text)
    else:
        if markdown is not None:
            write_text(Path(markdown), text + "\n")
        print_comparison(compared, console)
    if json is not None:
        write_text(json, json_text(compared))
    if csv is not None:
        write_text(csv, csv_text(compared))
    if not no_html and markdown != "-":
        from wsss_zoo.report.page import page
        from wsss_zoo.report.page.examples import collect_examples

        examples = collect_examples(compared, num_images)
        write_text(html, page(compared, examples, command))
        console.print(f"page: {html}", markup=False, soft_wrap=True)


def table(args: Sequence[str]) -> str:
    """Make the Markdown table that ``wsss-zoo compare ARGS --markdown`` prints."""
    options = _parser().parse_args(args)
    found, compared = _compared(options.runs, options.baseline, options.metric, options.confidence)
    return _markdown(compared, found, options.metric, by_seed=options.by_seed)


def write_text(path: Path, text: str) -> None:
    """Write a file, complete or not at all; its folder is made.

    Raises:
        OSError: If that cannot be done.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise OSError(f"{path} cannot be written: {error.strerror}; name another file") from error


def _compared(
    runs: Sequence[Path], baseline: str | None, metrics: Sequence[str], confidence: float
) -> tuple[Found, Comparison]:
    found = find_runs(runs)
    # STAGE:NAME is a line of the table of pipelines.
    columns = [name for name in metrics if ":" not in name]
    return found, comparison.compare(found, columns, baseline, confidence)


def _markdown(compared: Comparison, found: Found, metrics: Sequence[str], *, by_seed: bool) -> str:
    if not (by_seed and all(run.recipe for run in found.runs)):
        return markdown_table(compared, by_seed=by_seed)
    pipelines = {run.folder.parent: run.seed for run in found.runs}
    summaries = {}
    for folder, seed in pipelines.items():
        summary = read_json(folder / "summary.json")
        if seed is None or seed in summaries or "report" not in summary:
            raise ValueError(
                f"{origin(folder)} has no seed, that of another pipeline, or no summary.json; "
                "--by-seed makes a table of finished pipelines of one recipe with a seed each"
            )
        summaries[seed] = summary
    if len({summary.get("recipe") for summary in summaries.values()}) > 1:
        raise ValueError("--by-seed makes a table of pipelines of one recipe; give its folders")
    return pipeline_table(summaries, found.runs, [name for name in metrics if ":" in name])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsss-zoo compare",
        description="Compare runs: numbers over seeds, difference to a baseline, curves, classes, "
        "pictures, settings. Reads folders only; no server.",
        epilog="Runs that differ in nothing but seed and paths are one group. A difference is "
        "taken seed by seed. The numbers of a run are those of its validate or test, else the "
        "last of its training; those of unfinished runs do not count, and are listed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUNS",
        help="folders of runs or of pipelines, or folders that hold such",
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="compare to this group, run or method; may hold *"
    )
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="metric of a column, as val/miou or train/pseudo_acc (train/ numbers: mean over the "
        "last 100 steps); the first one decides; default: the most telling that there are",
    )
    parser.add_argument(
        "--confidence", type=float, default=0.95, help="of the intervals; default 0.95"
    )
    _add_outputs(parser)
    return parser


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table as CSV")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the table as Markdown; without FILE print it and nothing else",
    )
    parser.add_argument(
        "--by-seed",
        action="store_true",
        help="in Markdown: a column for each seed; for pipelines of one recipe the numbers of its "
        "report and wall times (--metric STAGE:NAME adds a line)",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        default=Path("report.html"),
        help="the page to write; default report.html",
    )
    parser.add_argument("--no-html", action="store_true", help="write no page")
    parser.add_argument(
        "--num-images",
        type=_number_of_images,
        default=4,
        help="example images on the page; default 4",
    )


def _number_of_images(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, got {text!r}")
    return int(text)
