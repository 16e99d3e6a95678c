"""All losses of pixels: nothing counted is 0, and names, mirrors and scales do not matter."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import IGNORED, flags, label_maps, permutations, sizes, tensors
from wsss_zoo.functional import (
    absent_class_loss,
    box_projection_loss,
    candidate_cross_entropy,
    color_pair_loss,
    complementary_loss,
    cps_loss,
    dense_energy_loss,
    dice_mask_loss,
    feature_regulation_loss,
    fixmatch_loss,
    focal_mask_loss,
    gated_crf_loss,
    gaussian_mixture_loss,
    label_loss,
    masked_cross_entropy,
    masked_squared_error,
    ohem_cross_entropy,
    partial_cross_entropy,
    region_loss,
    self_regulation_loss,
    sigmoid_rampup,
    soft_label_loss,
    softmax_mse_loss,
    tree_energy_loss,
)

CLASSES = 3


def self_regulation(variant):
    def loss(logits, other, labels, valid):
        mask = torch.where(valid, labels, IGNORED)
        tags = torch.zeros(len(logits), CLASSES)
        scores = [logits.mean((2, 3)), other.mean((2, 3))]
        parts = self_regulation_loss([logits, other], scores, mask, tags, variant)
        return parts["seg"] + parts["sr_f"]

    return loss


# Each takes logits, further logits, labels and which pixels count.
LOSSES = {
    "cross-entropy": lambda a, b, y, v: masked_cross_entropy(a, torch.where(v, y, IGNORED)),
    "ohem": lambda a, b, y, v: ohem_cross_entropy(a, torch.where(v, y, IGNORED), 0.6, 3),
    "ohem all": lambda a, b, y, v: ohem_cross_entropy(a, torch.where(v, y, IGNORED), 0.6, 0),
    "fixmatch": lambda a, b, y, v: fixmatch_loss(a, y, b.softmax(1).amax(1), 0.4, v),
    "cps": lambda a, b, y, v: cps_loss(a, b, valid=v),
    "cps of labels": lambda a, b, y, v: cps_loss(a, b, y, y, v),
    "mse": lambda a, b, y, v: softmax_mse_loss(a, b, v),
    "squared error": lambda a, b, y, v: masked_squared_error(a.softmax(1), b.softmax(1), v),
    "soft labels": lambda a, b, y, v: soft_label_loss(a, b.softmax(1), 0.4, v),
    "soft regulation": self_regulation("soft"),
    "hard regulation": self_regulation("code"),
    "partial": lambda a, b, y, v: partial_cross_entropy(a, torch.where(v, y, IGNORED)),
    "candidate": lambda a, b, y, v: candidate_cross_entropy(a, b > b.amax(1, True) - 1, v),
    "absent": lambda a, b, y, v: absent_class_loss(a, b.amax((2, 3)) > 0.5, v),
    "mixture": lambda a, b, y, v: gaussian_mixture_loss(a, b, torch.where(v, y, IGNORED), v),
    "gated crf": lambda a, b, y, v: gated_crf_loss(a.softmax(1), b.sigmoid(), v, sigma_rgb=0.3),
    "dense energy": lambda a, b, y, v: dense_energy_loss(
        a.softmax(1), b.sigmoid(), v, sigma_rgb=0.3, sigma_xy=3
    ),
    "tree energy": lambda a, b, y, v: tree_energy_loss(a.softmax(1), b.sigmoid(), b, v, 1.0),
    "color pairs": lambda a, b, y, v: color_pair_loss(a.softmax(1), b, v),
    "features": lambda a, b, y, v: feature_regulation_loss([a], b, v),
}
#: Those whose labels are the arg-max of logits: a tie goes to the lower index.
_TIES = {"cps", "hard regulation"}
#: Those that ask where a loss counts, not where a prediction is read.
_NEIGHBOURS = {"tree energy", "color pairs"}


@st.composite
def batches(draw, scales=None):
    size = draw(sizes(5))
    count = draw(st.integers(1, 2))
    logits, other = (draw(tensors(count, CLASSES, *size, scales=scales)) for _ in range(2))
    return logits, other, draw(label_maps(CLASSES, (count, *size))), draw(flags(count, *size))


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
def test_finite_with_any_logits(name, batch):
    logits, *rest = batch
    logits.requires_grad_()
    loss = LOSSES[name](logits, *rest)
    loss.backward()
    assert loss.isfinite()
    # Some take the logarithm of a probability and 1e-6.
    assert loss >= -1e-5
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
def test_zero_where_nothing_counts(name, batch):
    logits, other, labels, _ = batch
    logits.requires_grad_()
    loss = LOSSES[name](logits, other, labels, torch.zeros(labels.shape, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(scales=[0.0, 1.0, 30.0]), data=st.data())
def test_names_of_the_classes(name, batch, data):
    logits, other, labels, valid = batch
    if name in _TIES and (torch.equal(logits, 0 * logits) or torch.equal(other, 0 * other)):
        return
    order = data.draw(permutations(CLASSES))
    renamed = torch.full((256,), IGNORED)
    renamed[order] = torch.arange(CLASSES)
    moved = LOSSES[name](logits[:, order], other[:, order], renamed[labels], valid)
    expected = LOSSES[name](logits, other, labels, valid)
    assert torch.allclose(moved, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches(scales=[0.0, 1.0, 30.0]), sides=st.sampled_from([(1,), (2,), (1, 2)]))
def test_mirrors(name, batch, sides):
    logits, other, labels, valid = batch
    maps = [side + 1 for side in sides]
    mirrored = LOSSES[name](
        logits.flip(maps), other.flip(maps), labels.flip(sides), valid.flip(sides)
    )
    expected = LOSSES[name](logits, other, labels, valid)
    assert torch.allclose(mirrored, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - _NEIGHBOURS))
@given(batch=batches(scales=[1.0]))
def test_ignored_pixels_do_not_count(name, batch):
    logits, other, labels, valid = batch
    noise = torch.where(valid[:, None], logits, 7 * logits + 1)
    expected = LOSSES[name](logits, other, labels, valid)
    assert torch.allclose(LOSSES[name](noise, other, labels, valid), expected, atol=1e-5)


@given(batches())
def test_loss_of_each_label(batch):
    logits, _, labels, valid = batch
    labels = torch.where(valid, labels, IGNORED)
    loss = label_loss(logits, labels)
    assert not loss.isnan().any()
    assert (loss >= 0).all()
    assert (loss[labels == IGNORED] == 0).all()


@given(st.data(), st.integers(0, 4), sizes(5))
def test_losses_of_masks(data, count, size):
    logits = data.draw(tensors(count, *size)).requires_grad_()
    masks = data.draw(flags(count, *size)).float()
    for loss_of in (focal_mask_loss, dice_mask_loss):
        logits.grad = None
        loss = loss_of(logits, masks, max(count, 1))
        loss.backward()
        assert loss.isfinite()
        assert loss >= 0
        assert logits.grad.isfinite().all()
        mirrored = loss_of(logits.flip(2), masks.flip(2), max(count, 1))
        assert torch.allclose(mirrored, loss, rtol=1e-4, atol=1e-5)
        if count == 0:
            assert loss.item() == 0


@given(st.data(), st.integers(0, 3), st.integers(0, 3), sizes(4))
def test_complementary_loss(data, proposals, base, size):
    logits = data.draw(tensors(proposals, *size)).requires_grad_()
    masks, valid = data.draw(flags(base, *size)), data.draw(flags(*size))
    loss = complementary_loss(logits, masks, valid)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    order = data.draw(permutations(proposals)).long()
    again = complementary_loss(logits[order], masks.flip(0), valid)
    assert torch.allclose(again, loss, rtol=1e-4, atol=1e-5)


@given(st.data(), st.integers(1, 6), st.booleans())
def test_loss_of_regions(data, count, balance):
    logits = data.draw(tensors(count, CLASSES)).requires_grad_()
    labels = data.draw(label_maps(CLASSES, (count,)))
    loss = region_loss(logits, labels, balance)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    assert (logits.grad[labels == IGNORED] == 0).all()
    if (labels == IGNORED).all():
        assert loss.item() == 0


@given(st.data(), st.integers(0, 3), sizes(5))
def test_projections_of_boxes(data, count, size):
    probs = data.draw(tensors(count, *size)).sigmoid().requires_grad_()
    boxes = data.draw(flags(count, *size))
    loss = box_projection_loss(probs, boxes)
    loss.backward()
    assert -1e-5 <= loss <= 2
    assert probs.grad.isfinite().all()
    # A mask that is its own box fits; an empty one has nothing that could.
    filled = boxes[boxes.any(2).any(1)]
    assert box_projection_loss(filled.float(), filled) < 1e-4


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_ramps(step, length):
    value = sigmoid_rampup(step, length)
    assert 0 < value <= 1
    assert value <= sigmoid_rampup(step + 1, length)
