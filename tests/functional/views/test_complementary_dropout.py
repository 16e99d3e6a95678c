"""Complementary dropout against a loop, and its properties."""

import numpy as np
import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    complementary_dropout,
    complementary_factors,
    draw_complementary_factors,
)


@each("kind", [torch.uint8, torch.bool, torch.float32])
def test_factors_against_a_loop(kind):
    rng = np.random.default_rng(0)
    drawn, intact = rng.integers(0, 2, (5, 24)), rng.integers(0, 2, 5)
    expected = np.ones((10, 24), np.float32)
    for pair in range(5):
        for channel in range(24):
            if not intact[pair]:
                expected[pair, channel] = 2 * drawn[pair, channel]
                expected[5 + pair, channel] = 2 - 2 * drawn[pair, channel]
    found = complementary_factors(torch.from_numpy(drawn).to(kind), torch.from_numpy(intact) > 0)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)


@each(("count", "share", "intact"), [(1, 0.5, 0), (2, 0.5, 1), (5, 0.5, 2), (4, 1.0, 4), (4, 0, 0)])
def test_number_of_intact_pairs_is_fixed(count, share, intact):
    torch.manual_seed(0)
    for _ in range(5):
        first, second = draw_complementary_factors(count, 40, share).chunk(2)
        assert ((first == 1).all(1)).sum() == intact
        assert torch.equal(first + second, torch.full((count, 40), 2.0))


def test_channels_go_to_either_view_alike_and_all_pairs_are_intact_alike():
    torch.manual_seed(0)
    factors = torch.stack([draw_complementary_factors(4, 30) for _ in range(200)])
    assert factors.mean() == pytest.approx(1, abs=1e-6)
    assert (factors[:, :4] == 2).float().mean() == pytest.approx(0.25, abs=0.02)
    often = (factors[:, :4] == 1).all(2).float().mean(0)
    assert often.tolist() == pytest.approx([0.5] * 4, abs=0.12)


def test_dropout_is_the_same_at_all_positions_and_keeps_the_type():
    feature, factors = torch.rand(4, 6, 3, 2), draw_complementary_factors(2, 6, 0.0)
    torch.testing.assert_close(
        complementary_dropout(feature, factors), feature * factors[..., None, None]
    )
    assert complementary_dropout(feature.bfloat16(), factors).dtype == torch.bfloat16


@each(
    ("call", "message"),
    [
        (lambda: complementary_factors(torch.ones(2, 3), torch.ones(3)), "drawn .* do not fit"),
        (lambda: draw_complementary_factors(2, 3, 1.5), "intact_share 1.5"),
        (lambda: complementary_dropout(torch.ones(4, 2, 1, 1), torch.ones(2, 2)), "do not fit"),
    ],
)
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
