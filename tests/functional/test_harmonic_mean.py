import math

import pytest

from wsss_zoo.functional import harmonic_mean


def test_is_the_inverse_of_the_mean_inverse():
    assert harmonic_mean(0.7, 0.3) == pytest.approx(1 / ((1 / 0.7 + 1 / 0.3) / 2))
    assert harmonic_mean(0.4, 0.4) == pytest.approx(0.4)
    assert harmonic_mean(0.3, 0.7) == harmonic_mean(0.7, 0.3)


def test_a_group_at_0_or_unknown_decides():
    assert harmonic_mean(0.9, 0.0) == harmonic_mean(0.0, 0.0) == 0
    assert math.isnan(harmonic_mean(0.9, math.nan))
