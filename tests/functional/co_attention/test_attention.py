"""Co-attention and the merging of its maps against loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.each import each
from wsss_zoo.functional import (
    co_attend,
    co_attention,
    co_attention_affinity,
    contrastive_features,
    merge_co_attention_views,
)


def pair(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return draw(2, 3, 2, 4), draw(2, 3, 5, 3), draw(3, 3)


def naive(feat_m, feat_n, w_p):
    """Both co-attended maps, a number at a time."""
    co_m, co_n = torch.zeros_like(feat_m), torch.zeros_like(feat_n)
    for i in range(len(feat_m)):
        left, right = feat_m[i].flatten(1), feat_n[i].flatten(1)
        affinity = [
            [
                sum(
                    float(left[a, p] * w_p[a, b] * right[b, q])
                    for a in range(len(left))
                    for b in range(len(right))
                )
                for q in range(right.shape[1])
            ]
            for p in range(left.shape[1])
        ]
        for p in range(left.shape[1]):
            weights = [math.exp(value) for value in affinity[p]]
            mean = sum(w * right[:, q] for q, w in enumerate(weights)) / sum(weights)
            co_m[i].flatten(1)[:, p] = mean
        for q in range(right.shape[1]):
            weights = [math.exp(row[q]) for row in affinity]
            mean = sum(w * left[:, p] for p, w in enumerate(weights)) / sum(weights)
            co_n[i].flatten(1)[:, q] = mean
    return co_m, co_n


def test_equals_the_loop():
    feat_m, feat_n, w_p = pair()
    for result, expected in zip(
        co_attention(feat_m, feat_n, w_p), naive(feat_m, feat_n, w_p), strict=True
    ):
        assert result.shape == expected.shape
        torch.testing.assert_close(result, expected)


def test_equals_the_papers_matrices():
    """A_m and A_n column-wise, as the paper writes them."""
    feat_m, feat_n, w_p = pair()
    affinity = co_attention_affinity(feat_m, feat_n, w_p)
    a_m, a_n = affinity.softmax(1), affinity.mT.softmax(1)
    torch.testing.assert_close(a_m.sum(1), torch.ones(2, 15, dtype=torch.float64))
    co_m, co_n = co_attention(feat_m, feat_n, w_p)
    torch.testing.assert_close(co_m.flatten(2), feat_n.flatten(2) @ a_n)
    torch.testing.assert_close(co_n.flatten(2), feat_m.flatten(2) @ a_m)


def test_a_linear_layer_holds_the_matrix_transposed():
    feat_m, feat_n, w_p = pair()
    layer = torch.nn.Linear(3, 3, bias=False).double()
    layer.weight.data = w_p.mT.clone()
    released = layer(feat_m.flatten(2).mT) @ feat_n.flatten(2)
    torch.testing.assert_close(co_attention_affinity(feat_m, feat_n, w_p), released)


def test_swapping_the_images_transposes_the_matrix():
    feat_m, feat_n, w_p = pair()
    co_m, co_n = co_attention(feat_m, feat_n, w_p)
    swapped = co_attention(feat_n, feat_m, w_p.mT)
    torch.testing.assert_close(swapped, (co_n, co_m))


def test_a_matrix_for_each_pair():
    feat_m, feat_n, w_p = pair()
    both = torch.stack([w_p, w_p.mT])
    co_m, co_n = co_attention(feat_m, feat_n, both)
    for i in (0, 1):
        alone = co_attention(feat_m[i : i + 1], feat_n[i : i + 1], both[i])
        torch.testing.assert_close((co_m[i : i + 1], co_n[i : i + 1]), alone)


def test_gathered_class_maps_are_class_maps_of_the_gathered():
    feat_m, feat_n, w_p = pair()
    classes = torch.randn(4, 3, dtype=torch.float64)
    maps = torch.einsum("kc,nchw->nkhw", classes, feat_n)
    expected = torch.einsum("kc,nchw->nkhw", classes, co_attend(feat_m, feat_n, w_p))
    torch.testing.assert_close(co_attend(feat_m, feat_n, w_p, maps), expected)


def test_gradients_reach_both_images_and_the_matrix():
    inputs = [tensor.requires_grad_() for tensor in pair()]
    assert torch.autograd.gradcheck(co_attention, inputs)


def test_autocast_and_half_precision_are_computed_in_float32():
    feat_m, feat_n, w_p = pair(dtype=torch.float32)
    expected = co_attention(feat_m.bfloat16(), feat_n.bfloat16(), w_p)
    with torch.autocast("cpu", torch.bfloat16):
        result = co_attention(feat_m.bfloat16(), feat_n.bfloat16(), w_p)
    for one, other in zip(result, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_fused_kernels_are_used_where_there_are_any():
    """Flash attention never holds the affinity; it takes no tensors laid out in another way."""
    feat_m, feat_n, w_p = pair(dtype=torch.float32)
    expected = naive(feat_m, feat_n, w_p)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        for result, value in zip(co_attention(feat_m, feat_n, w_p), expected, strict=True):
            torch.testing.assert_close(result, value)


def test_large_features_do_not_overflow():
    feat_m, feat_n, w_p = pair(dtype=torch.float32)
    for result in co_attention(1e3 * feat_m, 1e3 * feat_n, w_p):
        assert result.isfinite().all()


def test_contrast_equals_the_loop():
    feat, co_feat = pair()[0], pair(1)[0]
    w_b = torch.randn(1, 3, dtype=torch.float64)
    expected = feat.clone()
    for n in range(2):
        for y in range(2):
            for x in range(4):
                shared = sum(float(w_b[0, c] * co_feat[n, c, y, x]) for c in range(3))
                expected[n, :, y, x] *= 1 - 1 / (1 + math.exp(-shared))
    torch.testing.assert_close(contrastive_features(feat, co_feat, w_b), expected)


@each("wrong", ["channels", "batch", "matrix", "values"])
def test_shapes_that_do_not_fit_are_refused(wrong):
    feat_m, feat_n, w_p = pair()
    values = None
    if wrong == "channels":
        feat_n = feat_n[:, :2]
    elif wrong == "batch":
        feat_n = feat_n[:1]
    elif wrong == "matrix":
        w_p = w_p[:2]
    else:
        values = feat_m
    with pytest.raises(ValueError, match="do not fit"):
        co_attend(feat_m, feat_n, w_p, values)


def test_contrast_refuses_other_shapes():
    feat, co_feat, w_p = pair()
    with pytest.raises(ValueError, match="do not fit"):
        contrastive_features(feat, co_feat, w_p[:1])


def naive_merge(views, size, min_score):
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


@each("shift", [0.0, -2.1, -9.0])
def test_merged_views_equals_the_loop(shift):
    merged = merge_co_attention_views(views(shift), (16, 20))
    torch.testing.assert_close(merged, naive_merge(views(shift), (16, 20), 0.1))


def test_merged_views_a_view_that_denies_the_class_still_divides():
    first, denying = torch.ones(1, 2, 2), torch.full((1, 2, 2), -5.0)
    merged = merge_co_attention_views([first, denying], (2, 2))
    torch.testing.assert_close(merged, torch.full((1, 2, 2), 0.5))


def test_merged_views_a_first_view_without_a_positive_score_is_0_and_no_nan():
    merged = merge_co_attention_views([torch.full((2, 3, 3), -1.0)], (6, 6))
    assert torch.equal(merged, torch.zeros(2, 6, 6))


def test_merged_views_no_views_are_refused():
    with pytest.raises(ValueError, match="views is empty"):
        merge_co_attention_views([], (2, 2))
