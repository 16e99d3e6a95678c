"""Order of the tests, and what is said while they run."""

import gc
import os

import pytest

pytest_plugins = ["tests.measurements"]

# Files that take the longest: nothing is left to wait for at the end if they come first.
_FIRST = [
    "test_notebooks.py",
    "test_experiments.py",
    "test_resume.py",
    "test_distributed.py",
    "test_main.py",
    "test_wandb.py",
    "test_compile.py",
    "test_saved_runs.py",
    "test_self_training.py",
    "test_export.py",
    "test_command.py",
]

# A forked process has the objects of this one, but not its threads: an ONNX session that is garbage
# would wait for its threads forever.
os.register_at_fork(after_in_child=gc.freeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take the longest."""
    place = {name: index for index, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(_FIRST)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once which test failed: a summary comes only at the end."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        text = report.longreprtext[-3000:]
        print(f"\nFAILED {report.nodeid} ({report.when})\n{text}", flush=True)
