"""Pytest plugin: state a number, hold it to a bound, and write all numbers of a run as JSON.

``--measurements FILE`` writes them with the machine, also those of tests that failed; at the end
they are printed as one table.
"""

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROWS = pytest.StashKey[list[dict[str, Any]]]()
#: What tests add to the description of the machine.
MACHINE = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--measurements", type=Path, help="JSON file for the measured numbers")
    parser.addoption(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="where tests/gpu runs; cpu tries its code without a card, in small sizes",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS], config.stash[MACHINE] = [], {}


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
    # Whoever measures has loaded them.
    import numpy as np
    import torch

    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **session.config.stash[MACHINE],
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
