"""The list of cases that tests over all methods go through."""

from tests.methods.zoo import CASES
from wsss_zoo import methods


def test_no_method_is_left_out():
    assert {name for name, _ in CASES.values()} == {
        name for name in methods.__all__ if not name.endswith("Method")
    }
