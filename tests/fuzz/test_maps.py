"""Activation maps, CRF, contrast and likeness of pairs."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.strategies import IGNORED, flags, images, label_maps, permutations, sizes, tensors
from wsss_zoo.functional import (
    calibrated_fusion,
    cam_to_label,
    class_activation_map,
    dense_crf,
    grad_cam,
    info_nce_loss,
    multi_scale_cam,
    pair_balance,
    pair_counts,
    pair_similarity_loss,
    pair_targets,
    saliency_label,
    score_similarity,
    similarity_distillation_loss,
)

MAPS = 3


@st.composite
def features(draw):
    """Feature maps of an image and its mirror image at one or two scales, and a classifier."""
    scales = draw(st.integers(1, 2))
    found = [draw(tensors(2, 4, *draw(sizes(4)))) for _ in range(scales)]
    return found, draw(tensors(MAPS, 4))


@given(features(), sizes(40), st.data())
def test_merged_maps(drawn, size, data):
    maps, weight = drawn
    tags = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=MAPS, max_size=MAPS)))
    cam = multi_scale_cam(maps, weight, tags, size)
    assert cam.shape == (MAPS, *size)
    assert ((cam >= 0) & (cam <= 1)).all()
    assert (cam[tags == 0] == 0).all()
    order = data.draw(permutations(MAPS))
    moved = multi_scale_cam(maps, weight[order], tags[order], size)
    assert torch.allclose(moved, cam[order], atol=1e-4)
    # The image and its mirror image have changed places.
    side = 16 * maps[0].shape[3]
    swapped = multi_scale_cam([m.flip(0) for m in maps], weight, tags, (16, side))
    whole = multi_scale_cam(maps, weight, tags, (16, side))
    assert torch.allclose(swapped, whole.flip(2), atol=1e-4)


@given(st.data(), sizes(5), st.floats(-1, 2))
def test_labels_of_maps(data, size, threshold):
    cam = data.draw(tensors(2, MAPS, *size, scales=[0.0, 1.0]))
    tags = data.draw(flags(2, MAPS)).long()
    label = cam_to_label(cam, tags, threshold)
    for image, (tag, classes) in enumerate(zip(tags, label, strict=True)):
        assert set(classes.unique().tolist()) <= {0, *(tag.nonzero().flatten() + 1).tolist()}
        best = cam[image].masked_fill(tag[:, None, None] == 0, -torch.inf).amax(0)
        assert torch.equal(classes > 0, best > threshold)
    assert torch.equal(cam_to_label(cam.flip(3), tags, threshold), label.flip(2))


@given(st.data(), sizes(5))
def test_labels_of_saliency(data, size):
    cam = data.draw(tensors(MAPS, *size))
    tags = data.draw(flags(MAPS)).long()
    saliency = data.draw(tensors(*size, scales=[0.0, 1.0])).sigmoid()
    label = saliency_label(cam, tags, saliency)
    allowed = {0, IGNORED, *(tags.nonzero().flatten() + 1).tolist()}
    assert set(label.unique().tolist()) <= allowed
    mirrored = saliency_label(cam.flip(2), tags, saliency.flip(1))
    assert torch.equal(mirrored, label.flip(1))


@given(st.data(), sizes(5))
def test_gradients_as_weights(data, size):
    activations, gradients = (data.draw(tensors(2, 4, *size)) for _ in range(2))
    cam = grad_cam(activations, gradients)
    assert (cam >= 0).all()
    assert cam.isfinite().all()
    mirrored = grad_cam(activations.flip(3), gradients.flip(3))
    scale = float(cam.max()) + 1
    assert torch.allclose(mirrored, cam.flip(2), rtol=1e-3, atol=1e-4 * scale)
    weight = data.draw(tensors(MAPS, 4, scales=[1.0]))
    scores = class_activation_map(activations, weight)
    assert torch.allclose(
        class_activation_map(activations.flip(3), weight), scores.flip(3), rtol=1e-3, atol=1e-2
    )


@given(data=st.data(), size=sizes(10), classes=st.integers(1, 4))
def test_crf(data, size, classes):
    probs = data.draw(tensors(classes, *size)).softmax(0).numpy()
    image = data.draw(images(size))
    refined = dense_crf(probs, image, iterations=data.draw(st.integers(0, 4)))
    assert refined.shape == probs.shape
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-4)
    assert refined.min() >= 0


@given(data=st.data(), size=sizes(8), classes=st.integers(1, 4))
def test_crf_follows_a_renaming_of_the_classes(data, size, classes):
    probs = data.draw(tensors(classes, *size, scales=[1.0])).softmax(0).numpy()
    image = data.draw(images(size))
    order = data.draw(permutations(classes)).numpy()
    first = dense_crf(probs, image, iterations=3)
    second = dense_crf(probs[order], image, iterations=3)
    np.testing.assert_allclose(second, first[order], atol=1e-4)


@given(data=st.data(), size=sizes(4), temperature=st.floats(0.1, 2))
def test_fused_probabilities(data, size, temperature):
    logits = [data.draw(tensors(2, MAPS, *size)) for _ in range(2)]
    fused = calibrated_fusion(*logits, temperature)
    assert torch.allclose(fused.sum(1), torch.ones(2, *size), atol=1e-4)
    assert (fused >= 0).all()
    mirrored = calibrated_fusion(*(part.flip(3) for part in logits), temperature)
    assert torch.allclose(mirrored, fused.flip(3), atol=1e-4)


@given(data=st.data(), preds=st.integers(1, 5), targets=st.integers(1, 5))
def test_contrast(data, preds, targets):
    vectors = data.draw(tensors(preds, 4, scales=[0.0, 1.0, 30.0])).requires_grad_()
    own = torch.tensor(
        data.draw(st.lists(st.integers(0, targets - 1), min_size=preds, max_size=preds))
    )
    bank = data.draw(tensors(targets, 4, scales=[0.0, 1.0, 30.0]))
    loss, accuracy = info_nce_loss(vectors, bank, own)
    loss.backward()
    assert loss.isfinite()
    assert loss >= -1e-5
    assert 0 <= accuracy <= 1
    assert vectors.grad.isfinite().all()
    order = data.draw(permutations(targets))
    place = torch.empty_like(order)
    place[order] = torch.arange(targets)
    moved, _ = info_nce_loss(vectors, bank[order], place[own])
    assert torch.allclose(moved, loss, rtol=1e-4, atol=1e-4)


@given(data=st.data(), points=st.integers(1, 6), others=st.integers(1, 6))
def test_pairs(data, points, others):
    labels = data.draw(label_maps(4, (2, points)))
    partner = data.draw(label_maps(4, (2, others)))
    is_base = data.draw(flags(4))
    same, valid = pair_targets(labels, partner, is_base)
    swapped, swapped_valid = pair_targets(partner, labels, is_base)
    assert torch.equal(same, swapped.mT)
    assert torch.equal(valid, swapped_valid.mT)
    w_neg, w_pos = pair_balance(torch.stack([pair_counts(same), torch.ones(2)]))
    assert torch.isclose(w_neg + w_pos, torch.tensor(1.0))
    scores = [data.draw(tensors(2, count, 3)).abs() for count in (points, others)]
    likeness = score_similarity(*scores)
    assert ((likeness >= 0) & (likeness <= 1)).all()
    likeness = likeness.detach().requires_grad_()
    loss = pair_similarity_loss(likeness, same, valid, w_neg, w_pos)
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert likeness.grad.isfinite().all()
    nothing = pair_similarity_loss(likeness, same, torch.zeros_like(valid), w_neg, w_pos)
    assert nothing.item() == 0


@given(
    data=st.data(),
    count=st.integers(0, 6),
    kind=st.sampled_from(["cce", "ce", "b0.5"]),
    value=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
)
def test_likeness_taught(data, count, kind, value):
    student, teacher = (data.draw(tensors(count, scales=[1.0, 30.0])).sigmoid() for _ in range(2))
    if value is not None:
        student = torch.full_like(student, value)
    student.requires_grad_()
    loss = similarity_distillation_loss(student, teacher, kind)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
    if count == 0:
        assert loss.item() == 0
