"""What all benchmarks share: how a number is stated, the table of all, photographs.

``pytest tests/benchmarks -m benchmark --measurements FILE`` writes all numbers, with the machine,
into a JSON file, also of tests that failed; at the end they are printed as one table.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmarks.memory import KNOWN, PeakMemory, settle_malloc

IMAGES, HEIGHT, WIDTH = 60, 375, 500
ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measurements", type=Path, help="JSON file for the benchmarks' numbers")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    settle_malloc()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Times are those of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def peak_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """Note, beside each number, how much more the process held at most than at the test's start."""
    rows = request.config.stash[ROWS]
    first, peak = len(rows), PeakMemory() if KNOWN else None
    yield
    for row in rows[first:]:
        row["peak_mb"] = None if peak is None else round(peak.megabytes())


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """State a number and hold it to its bound.

    What was promised and is known not to hold is `promised`, with its `cause`, beside a bound
    that does hold.
    """
    rows = request.config.stash[ROWS]
    item = request.node
    case = item.callspec.id if hasattr(item, "callspec") else ""

    def state(
        what: str,
        value: float,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        promised: float | None = None,
        cause: str = "",
    ) -> None:
        rows.append(
            {
                "benchmark": item.path.stem.removeprefix("test_").removesuffix("_benchmark"),
                "test": item.originalname.removeprefix("test_"),
                "case": case,
                "what": what,
                "value": float(value),
                "at_most": at_most,
                "at_least": at_least,
                "promised": promised,
                "cause": cause,
            }
        )
        assert at_most is None or value <= at_most, f"{what}: {value} is more than {at_most}"
        assert at_least is None or value >= at_least, f"{what}: {value} is less than {at_least}"

    return state


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    terminalreporter.section("measured")
    for row in rows:
        bound = f"<= {row['at_most']:g}" if row["at_most"] is not None else ""
        bound = f">= {row['at_least']:g}" if row["at_least"] is not None else bound
        title = " ".join(filter(None, [row["benchmark"], row["case"], row["what"]]))
        peak = f"{row['peak_mb']:6} MB" if row.get("peak_mb") is not None else ""
        terminalreporter.line(f"{title:72.72} {row['value']:10.4g} {bound:9} {peak}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--measurements")
    rows = session.config.stash[ROWS]
    if path is None or not rows:
        return
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    when = datetime.now(UTC).isoformat(timespec="minutes")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"date": when, "machine": machine, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")


def processor() -> str:
    """Its name where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@pytest.fixture
def photos(tmp_path):
    """A VOC2012 of photograph-like JPEGs: smooth noise compresses as photographs do."""
    rng = np.random.default_rng(0)
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "SegmentationClass").mkdir()
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    ids = [f"{number:04d}" for number in range(IMAGES)]
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("\n".join(ids))
    for image_id in ids:
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        fine = rng.integers(-12, 13, (HEIGHT, WIDTH, 3))
        pixels = np.clip(np.asarray(coarse.resize((WIDTH, HEIGHT))) + fine, 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(tmp_path / "JPEGImages" / f"{image_id}.jpg", quality=90)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[100:250, 100:300] = rng.integers(1, 21)
        Image.fromarray(mask).save(tmp_path / "SegmentationClass" / f"{image_id}.png")
    return tmp_path
