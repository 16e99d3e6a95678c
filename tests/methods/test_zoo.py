"""The list of cases that tests over all methods go through."""

import pytest

from tests.methods.zoo import CASES, make_data, make_method
from wsss_zoo import methods

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def test_no_method_is_left_out():
    assert {name for name, _ in CASES.values()} == {
        name for name in methods.__all__ if not name.endswith("Method")
    }


@pytest.mark.parametrize("case", CASES)
def test_every_case_trains(case, trainer, tmp_path):
    fit = trainer(max_steps=2, limit_val_batches=0)
    fit.fit(make_method(case), datamodule=make_data(case, tmp_path))
    assert fit.global_step == 2
