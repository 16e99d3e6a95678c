import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import semantic_inference

Q, K, H, W = 4, 3, 2, 5


def case():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(Q, K + 1, generator=rng), 3 * torch.randn(Q, H, W, generator=rng)


def test_equals_the_sum_over_the_queries():
    class_logits, mask_logits = case()
    scores = semantic_inference(class_logits, mask_logits)
    assert scores.shape == (K, H, W)
    for k in range(K):
        for y in range(H):
            for x in range(W):
                total = 0.0
                for q in range(Q):
                    exponentials = [math.exp(score) for score in class_logits[q].tolist()]
                    mask = 1 / (1 + math.exp(-mask_logits[q, y, x].item()))
                    total += exponentials[k] / sum(exponentials) * mask
                assert scores[k, y, x].item() == pytest.approx(total, rel=1e-5)


def test_a_batch_equals_its_images():
    class_logits, mask_logits = case()
    scores = semantic_inference(
        torch.stack([class_logits, -class_logits]), torch.stack([mask_logits, -mask_logits])
    )
    torch.testing.assert_close(scores[0], semantic_inference(class_logits, mask_logits))
    torch.testing.assert_close(scores[1], semantic_inference(-class_logits, -mask_logits))


def test_no_object_is_dropped_after_the_softmax():
    class_logits, mask_logits = case()
    class_logits[:, K] = 1e4
    assert torch.equal(semantic_inference(class_logits, mask_logits), torch.zeros(K, H, W))


def test_order_of_queries_does_not_matter():
    class_logits, mask_logits = case()
    moved = semantic_inference(class_logits.flip(0), mask_logits.flip(0))
    torch.testing.assert_close(moved, semantic_inference(class_logits, mask_logits))


@each("value", [1e4, -1e4])
def test_saturated_logits_stay_finite(value):
    class_logits, mask_logits = case()
    class_logits[0, 1], mask_logits[0] = value, value
    scores = semantic_inference(class_logits, mask_logits)
    assert scores.isfinite().all()
    assert scores.max() <= Q


def test_half_precision_gives_float32_scores():
    halves = [part.bfloat16() for part in case()]
    with torch.autocast("cpu", torch.bfloat16):
        scores = semantic_inference(*halves)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, semantic_inference(*(half.float() for half in halves)))


def test_what_does_not_fit_is_refused():
    class_logits, mask_logits = case()
    for parts in ((class_logits[:2], mask_logits), (class_logits[None], mask_logits)):
        with pytest.raises(ValueError, match="do not fit"):
            semantic_inference(*parts)
