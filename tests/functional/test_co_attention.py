"""Co-attention against loops over positions, with unequal sizes throughout."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from wsss_zoo.functional import (
    co_attend,
    co_attention,
    co_attention_affinity,
    contrastive_features,
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


@pytest.mark.parametrize("wrong", ["channels", "batch", "matrix", "values"])
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
