"""The tests of `tests/gpu` can be collected, are skipped without a card, and run on a CPU."""

import pytest
import torch


class Record:
    """Plugin of an inner pytest: the tests that it has found, and how they ended."""

    def __init__(self):
        self.items, self.outcomes = [], []

    def pytest_collection_finish(self, session):
        self.items = list(session.items)

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.outcomes.append(report.outcome)


def inner(*arguments):
    record = Record()
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--durations", "0"]
    return pytest.main([*quiet, *arguments], plugins=[record]), record


def test_all_are_marked_and_skipped_without_a_card():
    code, found = inner("tests/gpu", "--collect-only")
    assert code == 0
    assert len(found.items) > 100
    assert all(item.get_closest_marker("gpu") for item in found.items)
    skipped = [item.get_closest_marker("skip") is not None for item in found.items]
    assert set(skipped) == {not torch.cuda.is_available()}


@pytest.mark.slow
def test_their_code_runs_on_a_cpu():
    path = "tests/gpu/test_same_as_cpu.py"
    code, found = inner(path, "--device", "cpu", "-k", "classification or refinement")
    assert code == 0
    assert found.outcomes == ["passed"] * 2
