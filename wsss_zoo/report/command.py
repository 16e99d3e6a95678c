"""``wsss-zoo compare``: compare runs on the terminal and on one HTML page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from wsss_zoo.arguments.command_parser import UsageError, parse_options
from wsss_zoo.files.atomic import read_json, write_atomic
from wsss_zoo.report.comparison import Comparison, compare
from wsss_zoo.report.find_runs import Found, find_runs
from wsss_zoo.report.packed_runs import origin
from wsss_zoo.report.tables import (
    csv_text,
    json_text,
    markdown_table,
    pipeline_table,
    print_comparison,
)


def compare_runs(
    runs: list[Path],
    *,
    baseline: str | None = None,
    metric: tuple[str, ...] = (),
    confidence: float = 0.95,
    json: Path | None = None,
    csv: Path | None = None,
    markdown: bool | Path = False,
    by_seed: bool = False,
    html: Path = Path("report.html"),
    no_html: bool = False,
    num_images: int = 4,
    typed: str = "",
) -> int:
    """Compare runs: numbers over seeds, difference to a baseline, curves, classes, pictures.

    Settings are compared too. Reads folders only; no server.

    Runs that differ in nothing but seed and paths are one group. A difference is taken seed by
    seed. The numbers of a run are those of its validate or test, else the last of its training;
    those of unfinished runs do not count, and are listed.

    Args:
        runs: Folders of runs or of pipelines, or folders that hold such.
        baseline: Compare to this group, run or method; may hold *.
        metric: Metric of a column, as val/miou or train/pseudo_acc (train/ numbers: mean over the
            last 100 steps); may be given several times, the first one decides; default: the most
            telling that there are.
        confidence: Confidence of the intervals.
        json: Write everything as JSON to this file.
        csv: Write the table as CSV to this file.
        markdown: Write the table as Markdown to this file; without a file print it and nothing
            else.
        by_seed: In Markdown: a column for each seed; for pipelines of one recipe the numbers of
            its report and wall times (--metric STAGE:NAME adds a line).
        html: The page to write.
        no_html: Write no page.
        num_images: Example images on the page.
        typed: The command, for the page.

    Returns:
        0.

    Raises:
        FileNotFoundError: If a folder does not exist.
        OSError: If a file cannot be written.
        ValueError: If there is no run in the folders, no such baseline or metric.
    """
    if num_images < 0:
        raise UsageError(f"--num_images must be a whole number from 0, got '{num_images}'")
    found, comparison = _compare(runs, metric, baseline, confidence)
    if markdown is True:
        print(_markdown(comparison, found, metric, by_seed=by_seed))
    else:
        print_comparison(comparison, Console(highlight=False))
    if isinstance(markdown, Path):
        write_text(markdown, _markdown(comparison, found, metric, by_seed=by_seed) + "\n")
    for path, make in ((json, json_text), (csv, csv_text)):
        if path is not None:
            write_text(path, make(comparison))
    if not (no_html or markdown is True):
        from wsss_zoo.report.page import page
        from wsss_zoo.report.page.examples import collect_examples

        write_text(html, page(comparison, collect_examples(comparison, num_images), typed))
        Console(highlight=False).print(f"page: {html}", markup=False, soft_wrap=True)
    return 0


def write_report(folder: Path, html: Path, note: str, *, num_images: int = 8) -> None:
    """Write the page of all runs in a folder, with a note of several lines at its top."""
    from wsss_zoo.report.page import page
    from wsss_zoo.report.page.examples import collect_examples

    _, comparison = _compare([folder], (), None, 0.95)
    write_text(html, page(comparison, collect_examples(comparison, num_images), note=note))


def table(args: Sequence[str]) -> str:
    """Make the Markdown table that ``wsss-zoo compare ARGS`` prints with ``--markdown``."""
    given = parse_options("compare", compare_runs, args)
    metric = given["metric"]
    found, comparison = _compare(given["runs"], metric, given["baseline"], given["confidence"])
    return _markdown(comparison, found, metric, by_seed=given["by_seed"])


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all; OSError names the remedy."""
    try:
        write_atomic(path, text)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}; name another file") from error


def _compare(
    runs: Sequence[Path], metric: Sequence[str], baseline: str | None, confidence: float
) -> tuple[Found, Comparison]:
    found = find_runs(runs)
    metrics = [name for name in metric if ":" not in name]
    return found, compare(found, metrics, baseline, confidence)


def _markdown(comparison: Comparison, found: Found, metric: Sequence[str], *, by_seed: bool) -> str:
    if not (by_seed and all(run.recipe for run in found.runs)):
        return markdown_table(comparison, by_seed=by_seed)
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
    return pipeline_table(summaries, found.runs, [m for m in metric if ":" in m])
