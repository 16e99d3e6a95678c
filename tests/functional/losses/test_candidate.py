"""Losses of possible and of absent classes against loops over pixels."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    absent_class_loss,
    candidate_cross_entropy,
    masked_cross_entropy,
)


def sets(share=0.5, shape=(2, 5, 4, 3), seed=0):
    """Possible classes, of which each pixel has one at least."""
    generator = torch.Generator().manual_seed(seed)
    possible = torch.rand(shape, generator=generator) < share
    first = torch.randint(shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    return possible.scatter(1, first, True)


def scores(shape=(2, 5, 4, 3), seed=0):
    generator = torch.Generator().manual_seed(seed + 1)
    return 2 * torch.randn(shape, generator=generator, dtype=torch.float64)


def holes(shape=(2, 4, 3)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(7)) > 0.4


def candidate_loop(logits, possible, valid):
    N, C, H, W = logits.shape
    possible = possible.expand(N, C, H, W)
    losses = []
    for n in range(N):
        for y in range(H):
            for x in range(W):
                here = possible[n, :, y, x].tolist()
                if valid[n, y, x] and not all(here):
                    p = logits[n, :, y, x].softmax(0).tolist()
                    losses.append(-math.log(sum(q for q, c in zip(p, here, strict=True) if c)))
    return sum(losses) / len(losses) if losses else 0.0


@each("share", [0.0, 0.3, 0.9, 1.0])
@each("size", [(4, 3), (1, 1)])
def test_candidates_equal_the_loop(share, size):
    logits, possible = scores(), sets(share, (2, 5, *size))
    for valid in (None, holes()):
        counted = torch.ones(2, 4, 3, dtype=torch.bool) if valid is None else valid
        loss = candidate_cross_entropy(logits, possible, valid)
        assert loss.item() == pytest.approx(candidate_loop(logits, possible, counted), abs=1e-9)


def test_one_candidate_is_cross_entropy():
    logits = scores().float()
    mask = torch.randint(5, (2, 4, 3), generator=torch.Generator().manual_seed(3))
    one = torch.nn.functional.one_hot(mask, 5).permute(0, 3, 1, 2).bool()
    torch.testing.assert_close(
        candidate_cross_entropy(logits, one), masked_cross_entropy(logits, mask)
    )


def test_one_excluded_class_is_the_log_of_the_rest():
    logits = scores()
    possible = torch.ones(2, 5, 1, 1, dtype=torch.bool)
    possible[:, 2] = False
    expected = -(1 - logits.softmax(1)[:, 2]).log().mean()
    torch.testing.assert_close(candidate_cross_entropy(logits, possible), expected)


@each("valid", [None, torch.zeros(2, 4, 3, dtype=torch.bool)])
def test_nothing_known_is_0_with_a_zero_gradient(valid):
    logits = scores().requires_grad_()
    possible = sets(1.0) if valid is None else sets()
    loss = candidate_cross_entropy(logits, possible, valid)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_full_sets_and_padding_change_nothing():
    logits, possible, valid = scores(), sets(), holes()
    expected = candidate_cross_entropy(logits, possible, valid)
    possible = possible | ~valid[:, None]
    torch.testing.assert_close(candidate_cross_entropy(logits, possible), expected)
    # A contradiction on padding does not count either.
    nothing = possible & valid[:, None]
    logits.requires_grad_()
    loss = candidate_cross_entropy(logits, nothing, valid)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    assert logits.grad.isfinite().all()


def test_an_empty_set_is_infinite():
    possible = torch.zeros(2, 5, 1, 1, dtype=torch.bool)
    assert candidate_cross_entropy(scores(), possible).isinf()


def test_order_of_classes_does_not_matter():
    logits, possible = scores(), sets()
    order = [3, 0, 4, 1, 2]
    torch.testing.assert_close(
        candidate_cross_entropy(logits[:, order], possible[:, order]),
        candidate_cross_entropy(logits, possible),
    )


def test_gradient_of_candidates():
    logits, possible, valid = scores(), sets(), holes()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: candidate_cross_entropy(x, possible, valid), logits)


def absent_loop(logits, classes, valid):
    losses = []
    for n, y, x in valid.nonzero().tolist():
        p = logits[n, :, y, x].softmax(0).tolist()
        absent = [q for q, t in zip(p, classes[n].tolist(), strict=True) if not t]
        losses.append(-sum(math.log(1 - q + 1e-6) for q in absent))
    return sum(losses) / len(losses)


CLASSES = torch.tensor([[1, 0, 0, 1, 1], [1, 1, 0, 0, 0]])


def test_absent_classes_equal_the_loop():
    logits = scores()
    everywhere = torch.ones(2, 4, 3, dtype=torch.bool)
    for valid in (None, holes()):
        expected = absent_loop(logits, CLASSES, everywhere if valid is None else valid)
        for classes in (CLASSES, CLASSES.bool(), CLASSES.float()):
            loss = absent_class_loss(logits, classes, valid)
            assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_gradient_of_absent_classes():
    logits, valid = scores().requires_grad_(), holes()
    assert torch.autograd.gradcheck(lambda x: absent_class_loss(x, CLASSES, valid), logits)


def test_no_absent_class_or_pixel_is_0_with_a_zero_gradient():
    nowhere = torch.zeros(2, 4, 3, dtype=torch.bool)
    for classes, valid in ((torch.ones(2, 5), None), (CLASSES, nowhere)):
        logits = scores().requires_grad_()
        loss = absent_class_loss(logits, classes, valid)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_certain_absent_class_stays_finite():
    logits = (1e4 * scores()).requires_grad_()
    loss = absent_class_loss(logits, torch.zeros(2, 5))
    loss.backward()
    assert loss <= 13.9
    assert logits.grad.isfinite().all()


@each("loss", [candidate_cross_entropy, absent_class_loss])
def test_float32_under_autocast(loss):
    logits = scores().bfloat16()
    known = sets() if loss is candidate_cross_entropy else CLASSES
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, known)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), known))


def test_shapes_that_do_not_fit():
    logits = scores()
    for possible in (sets()[:, :4], sets()[:1], sets()[..., 0], torch.ones(2, 5).bool()):
        with pytest.raises(ValueError, match="do not fit; give"):
            candidate_cross_entropy(logits, possible)
    with pytest.raises(ValueError, match="valid"):
        candidate_cross_entropy(logits, sets(), holes()[0])
    with pytest.raises(ValueError, match="image_classes"):
        absent_class_loss(logits, CLASSES[:, 1:])
    with pytest.raises(ValueError, match="valid"):
        absent_class_loss(logits, CLASSES, holes()[:1])
