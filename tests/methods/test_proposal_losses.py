"""Losses of the layers, against loops over images and layers."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from tests.methods.weak_shot_batches import K, leaves, masks, proposals
from wsss_zoo.functional import (
    class_targets,
    complementary_loss,
    dice_mask_loss,
    focal_mask_loss,
    match_proposals,
)
from wsss_zoo.methods.proposal_losses import (
    class_loss,
    complementary_losses,
    mask_losses,
    match_layers,
    padded,
    resized_labels,
)

TAU, NO_OBJECT = -2.9444, 0.1


def ours(given, mask, valid, tags):
    targets = class_targets(mask, K, tags)
    matches = match_layers(given, mask, targets)
    focal, dice = mask_losses(given.mask_logits, matches, mask, targets)
    return {
        "class": class_loss(given.class_logits, matches, NO_OBJECT),
        "focal": focal,
        "dice": dice,
        "comp": complementary_losses(given.mask_logits, matches, mask, valid, TAU, K),
    }


def image_targets(mask, tags):
    """Labels and full masks of an image's targets; of the first so many the mask is known."""
    shown = [c for c in range(K) if (mask == c).any()]
    labels = shown + [c for c in range(K) if tags[c] and c not in shown]
    full = [mask == c if c in shown else torch.zeros_like(mask, dtype=torch.bool) for c in labels]
    return torch.tensor(labels).long(), full, len(shown)


def enlarge(mask_logits):
    return F.interpolate(mask_logits[None, None], scale_factor=4, mode="bilinear")[0]


def naive_image(classes, logits, mask, valid, tags):
    """Query classes, mask losses and complementary loss (None without) of one image and layer."""
    labels, full, shown = image_targets(mask, tags)
    target = torch.full((len(classes),), K)
    focal = dice = classes.new_zeros(())
    if len(labels) == 0:
        return target, focal, dice, None
    small = torch.stack([m[::4, ::4] for m in full])
    has_mask = torch.arange(len(labels)) < shown
    match = match_proposals(classes.detach(), logits.detach(), labels, small, has_mask)
    novel = []
    for query, t in zip(*(side.tolist() for side in match), strict=True):
        target[query] = labels[t]
        large = enlarge(logits[query])
        if t < shown:
            focal = focal + focal_mask_loss(large, full[t][None], 1)
            dice = dice + dice_mask_loss(large, full[t][None], 1)
        else:
            novel.append(large)
    base = torch.stack(full[:shown]) if shown else torch.zeros(0, *mask.shape)
    comp = complementary_loss(torch.cat(novel), base, valid, TAU) if novel else None
    return target, focal, dice, comp


def naive(given, mask, valid, tags):
    N, L = given.class_logits.shape[:2]
    weight = torch.tensor([1.0] * K + [NO_OBJECT])
    number = max(1, sum(image_targets(mask[n], tags[n])[2] for n in range(N)))
    totals = dict.fromkeys(("class", "focal", "dice", "comp"), torch.zeros(()))
    for layer in range(L):
        rows = [
            naive_image(
                given.class_logits[n, layer],
                given.mask_logits[n, layer],
                mask[n],
                valid[n],
                tags[n],
            )
            for n in range(N)
        ]
        target = torch.cat([row[0] for row in rows])
        entropy = F.cross_entropy(given.class_logits[:, layer].flatten(0, 1), target, weight)
        totals["class"] = totals["class"] + entropy
        totals["focal"] = totals["focal"] + sum(row[1] for row in rows) / number
        totals["dice"] = totals["dice"] + sum(row[2] for row in rows) / number
        comps = [row[3] for row in rows if row[3] is not None]
        if comps:
            totals["comp"] = totals["comp"] + sum(comps) / len(comps)
    return totals


def kinds():
    """Batches with every kind of image."""
    mask, valid, tags = masks()
    whole = torch.full_like(mask, 255)
    one = mask.clone()
    one[:, 1:] = 255
    one[:, :1] = torch.where(torch.arange(40) % 4 == 1, 2, 255)
    return {
        "mixed": (mask, valid, tags),
        "no base class": (whole, valid, tags),
        "no novel class": (mask, valid, torch.zeros_like(tags)),
        "one image without either": (
            torch.cat([mask[:2], whole[:1]]),
            valid,
            tags,
        ),
        "neither": (whole, valid, torch.zeros_like(tags)),
        "nothing valid": (whole, torch.zeros_like(valid), tags),
        "a mask that vanishes at stride 4": (one, valid, tags),
    }


@pytest.mark.parametrize("kind", kinds())
@each("Q", [6, 2])
def test_equal_a_loop_and_so_do_their_gradients(kind, Q):
    """With two queries there are more targets than proposals."""
    batch = kinds()[kind]
    given = proposals(Q=Q)
    first, second = leaves(given), leaves(given)
    mine, expected = ours(first, *batch), naive(second, *batch)
    for name, value in expected.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-6, msg=name)
        assert mine[name].shape == ()
    # Each must be ready for a backward pass, also where there is nothing to learn.
    assert all(value.requires_grad for value in mine.values())
    sum(mine.values()).backward()
    sum(expected.values()).backward()
    for name in ("class_logits", "mask_logits"):
        wanted = getattr(second, name).grad
        wanted = torch.zeros_like(getattr(given, name)) if wanted is None else wanted
        torch.testing.assert_close(getattr(first, name).grad, wanted, rtol=1e-4, atol=1e-7)
    assert first.pixel_embeddings.grad is None


def test_matches_are_those_of_each_image_and_layer():
    mask, _, tags = masks()
    given, targets = proposals(), class_targets(mask, K, tags)
    matches = match_layers(given, mask, targets)
    assert matches.masked.dtype == matches.unmasked.dtype == torch.int64
    found = {
        tuple(column[:4]) for column in torch.cat([matches.masked, matches.unmasked], 1).T.tolist()
    }
    expected = set()
    for n in range(3):
        labels, full, shown = image_targets(mask[n], tags[n])
        small = torch.stack([m[::4, ::4] for m in full])
        for layer in range(2):
            match = match_proposals(
                given.class_logits[n, layer],
                given.mask_logits[n, layer],
                labels,
                small,
                torch.arange(len(labels)) < shown,
            )
            expected |= {(n, layer, int(q), int(labels[t])) for q, t in zip(*match, strict=True)}
    assert found == expected
    assert {column[3] for column in matches.unmasked.T.tolist()} == {3, 4}
    assert matches.groups == [(0, 1), (0, 1), (1, 2), (1, 2)]


def test_no_weight_on_no_object_and_no_object_is_0():
    given, mask = proposals(), torch.full((3, 32, 40), 255)
    matches = match_layers(given, mask, class_targets(mask, K))
    assert class_loss(given.class_logits, matches, 0.0) == 0


@each("value", [1e4, -1e4])
def test_saturated_logits_stay_finite(value):
    given = proposals()
    given.mask_logits.fill_(value)
    given.class_logits.mul_(1e3)
    given = leaves(given)
    losses = ours(given, *masks())
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert given.class_logits.grad.isfinite().all()
    assert given.mask_logits.grad.isfinite().all()


def test_half_precision_gives_float32_losses():
    given, batch = proposals(), masks()
    half = type(given)(*(value.bfloat16() for value in given))
    rounded = type(given)(*(value.float() for value in half))
    with torch.autocast("cpu", torch.bfloat16):
        losses = ours(half, *batch)
    for name, expected in ours(rounded, *batch).items():
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], expected, rtol=1e-4, atol=1e-5)


def test_padding_is_no_base_pixel_and_not_valid():
    given = proposals(h=16, w=24)
    mask, valid, tags = masks(height=50, width=70)
    large, inside = padded(mask, given, 255), padded(valid, given, False)
    assert large.shape == inside.shape == (3, 64, 96)
    assert inside.dtype == torch.bool
    assert torch.equal(large[:, :50, :70], mask)
    assert torch.equal(inside[:, :50, :70], valid)
    outside = torch.ones(64, 96, dtype=torch.bool)
    outside[:50, :70] = False
    assert (large[:, outside] == 255).all()
    assert not inside[:, outside].any()
    # To the complementary loss what is padded counts as not novel.
    torch.testing.assert_close(
        ours(given, large, inside, tags)["comp"], naive(given, large, inside, tags)["comp"]
    )
    filled = ours(given, large, torch.ones_like(inside), tags)["comp"]
    assert not torch.isclose(filled, ours(given, large, inside, tags)["comp"])


@each("size", [(8, 10), (5, 7), (32, 40), (40, 64), (1, 1)])
def test_labels_are_resized_to_the_nearest(size):
    mask = masks()[0]
    expected = F.interpolate(mask[:, None].double(), size)[:, 0].long()
    assert torch.equal(resized_labels(mask, size), expected)
