import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.fuzz.strategies import IGNORED, flags, label_maps, permutations, sizes
from wsss_zoo.data.reading.image_files import ImageFiles
from wsss_zoo.data.reading.official_masks import map_numbers, number_table
from wsss_zoo.functional import (
    boundary_counts,
    boundary_f_score,
    clean_pixels,
    confusion_matrix,
    image_reliability,
    intersection_over_union,
    mask_to_image_labels,
    mean_iou,
)
from wsss_zoo.functional.proposals.class_targets import class_targets, covered_pixels, target_masks

CLASSES = 4


@st.composite
def pairs(draw):
    size = draw(sizes())
    preds = draw(label_maps(CLASSES, size, ignored=False))
    return preds, draw(label_maps(CLASSES, size))


@given(sizes().flatmap(lambda size: label_maps(CLASSES, (2, *size))))
def test_image_labels_are_the_classes_that_occur(mask):
    expected = [
        [float(c in image) for c in range(1, CLASSES)] for image in mask.flatten(1).tolist()
    ]
    assert mask_to_image_labels(mask, CLASSES).tolist() == expected


@given(pairs())
def test_confusion_counts_pixels(pair):
    preds, target = pair
    expected = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    for truth, found in zip(target.flatten().tolist(), preds.flatten().tolist(), strict=True):
        if truth != IGNORED:
            expected[truth, found] += 1
    confusion = confusion_matrix(preds, target, CLASSES)
    np.testing.assert_array_equal(confusion.numpy(), expected)
    iou = intersection_over_union(confusion)
    assert ((iou >= 0) & (iou <= 1) | iou.isnan()).all()
    for rule in ("nan-mean", "present", "all"):
        mean = mean_iou(confusion, rule)
        assert 0 <= mean <= 1 or (np.isnan(mean) and confusion.sum() == 0)


@given(pairs(), permutations(CLASSES))
def test_confusion_follows_a_renaming_of_the_classes(pair, order):
    preds, target = pair
    renamed = torch.full((256,), IGNORED)
    renamed[:CLASSES] = order
    changed = confusion_matrix(renamed[preds], renamed[target], CLASSES)
    before = confusion_matrix(preds, target, CLASSES)
    assert torch.equal(changed[order][:, order], before)
    assert mean_iou(changed) == pytest.approx(mean_iou(before), nan_ok=True)


@given(pairs(), st.sampled_from([0.0, 1.0, 1.5, 3.0]), permutations(CLASSES))
def test_boundaries(pair, tolerance, order):
    preds, target = pair
    counts = boundary_counts(preds, target, CLASSES, tolerance)
    assert (counts[:, 0] <= counts[:, 1]).all()
    assert (counts[:, 2] <= counts[:, 3]).all()
    score = boundary_f_score(counts)
    assert ((score >= 0) & (score <= 1) | score.isnan()).all()
    for flipped in ((0,), (1,), (0, 1)):
        again = boundary_counts(preds.flip(flipped), target.flip(flipped), CLASSES, tolerance)
        assert torch.equal(again, counts)
    turned = boundary_counts(preds.T, target.T, CLASSES, tolerance)
    assert torch.equal(turned, counts)
    renamed = torch.full((256,), IGNORED)
    renamed[:CLASSES] = order
    changed = boundary_counts(renamed[preds], renamed[target], CLASSES, tolerance)
    assert torch.equal(changed[order], counts)


@given(pairs())
def test_boundaries_of_the_truth_itself(pair):
    preds, _ = pair
    counts = boundary_counts(preds, preds, CLASSES, 0.0)
    assert torch.equal(counts[:, 0], counts[:, 1])
    assert torch.equal(counts[:, 2], counts[:, 3])
    assert boundary_counts(preds, torch.full_like(preds, IGNORED), CLASSES, 2.0).sum() == 0


@given(pairs(), st.floats(-1, 2, allow_nan=False))
def test_clean_pixels(pair, threshold):
    preds, target = pair
    losses = preds.float() / CLASSES
    clean = clean_pixels(losses, target, threshold)
    assert not clean[target == IGNORED].any()
    assert torch.equal(clean, (losses <= threshold) & (target != IGNORED))


@given(pairs())
def test_reliability_is_a_share(pair):
    first, second = pair
    value = image_reliability(torch.stack([first, second]), second, CLASSES)
    assert 0 <= value <= 1
    agreed = image_reliability(second[None], second, CLASSES)
    assert agreed == (0 if (second == IGNORED).all() else 1)


@given(sizes(), st.data())
def test_targets_of_a_mask(size, data):
    mask = data.draw(label_maps(CLASSES, (2, *size)))
    tags = data.draw(flags(2, CLASSES)).long()
    targets = class_targets(mask, CLASSES, tags)
    assert targets.counts == [
        len({*image.tolist()} - {IGNORED} | {*tag.nonzero().flatten().tolist()})
        for image, tag in zip(mask.flatten(1), tags, strict=True)
    ]
    masks = target_masks(targets, mask)
    covered = covered_pixels(mask, CLASSES)
    # Each pixel with a class is in one mask, each other one in none.
    assert torch.equal(masks.sum(1), covered.long())


@given(st.data())
def test_numbers_of_official_lists(data):
    known = data.draw(st.dictionaries(st.integers(0, 30), st.integers(0, 20) | st.just(255)))
    table = number_table(known, 31)
    size = data.draw(sizes())
    labels = np.array(data.draw(st.lists(st.integers(-3, 40), min_size=1, max_size=64)))
    labels = np.resize(labels, size)
    if {*labels.flatten().tolist()} <= set(known):
        mapped = map_numbers(labels, table, "a.png")
        expected = [[known[value] for value in row] for row in labels.tolist()]
        assert mapped.tolist() == expected
    else:
        with pytest.raises(ValueError, match=r"a\.png holds the number"):
            map_numbers(labels, table, "a.png")


@given(st.lists(st.integers(0, 5) | st.just(255), min_size=1, max_size=9), st.data())
def test_indices_of_a_data_set(index_map, data):
    files = ImageFiles({}, {}, index_map)
    raw = data.draw(label_maps(10, data.draw(sizes()))).numpy().astype(np.uint8)
    known = {*range(len(index_map)), IGNORED}
    if {*raw.flatten().tolist()} <= known:
        mapped = files.map_indices(raw, "a.png")
        table = {**dict(enumerate(index_map)), IGNORED: IGNORED}
        assert mapped.tolist() == [[table[value] for value in row] for row in raw.tolist()]
    else:
        with pytest.raises(ValueError, match=r"a\.png holds class index"):
            files.map_indices(raw, "a.png")


@given(pairs())
def test_a_wrong_index_is_an_error(pair):
    preds, target = pair
    assume((target != IGNORED).any())
    with pytest.raises(ValueError, match="outside"):
        confusion_matrix(torch.full_like(preds, CLASSES), target, CLASSES)
