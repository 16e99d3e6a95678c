"""The five-view merge against a loop over views and classes."""

import math

import pytest
import torch
import torch.nn.functional as F

from wsss_zoo.functional import merge_co_attention_views


def naive(views, size, min_score):
    merged = torch.zeros(len(views[0]), *views[0].shape[-2:])
    for k in range(len(merged)):
        for place, view in enumerate(views):
            raw = view[k]
            if raw.shape != merged.shape[1:]:
                raw = F.interpolate(raw[None, None], merged.shape[1:], mode="bicubic")[0, 0]
            if place and 1 / (1 + math.exp(-raw.mean())) <= min_score:
                continue
            raw = raw.clamp(min=0)
            merged[k] += raw / (raw.max() + 1e-8)
    merged = F.interpolate((merged / len(views))[None], size, mode="bicubic")[0]
    return merged.clamp(0, 1)


def views(shift=0.0):
    generator = torch.Generator().manual_seed(0)
    sizes = [(4, 5), (4, 5), (3, 4), (8, 10), (4, 5)]
    return [torch.randn(2, *size, generator=generator) + shift for size in sizes]


@pytest.mark.parametrize("shift", [0.0, -2.1, -9.0])
def test_equals_the_loop(shift):
    merged = merge_co_attention_views(views(shift), (16, 20))
    torch.testing.assert_close(merged, naive(views(shift), (16, 20), 0.1))


def test_a_view_that_denies_the_class_still_divides():
    first, denying = torch.ones(1, 2, 2), torch.full((1, 2, 2), -5.0)
    merged = merge_co_attention_views([first, denying], (2, 2))
    torch.testing.assert_close(merged, torch.full((1, 2, 2), 0.5))


def test_a_first_view_without_a_positive_score_is_0_and_no_nan():
    merged = merge_co_attention_views([torch.full((2, 3, 3), -1.0)], (6, 6))
    assert torch.equal(merged, torch.zeros(2, 6, 6))


def test_no_views_are_refused():
    with pytest.raises(ValueError, match="views is empty"):
        merge_co_attention_views([], (2, 2))
