"""Losses of boxes against loops over pixels."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import box_projection_loss, color_pair_loss


def batch(size=(6, 7), seed=0):
    """Probabilities, colours of which about half are similar, and pixels in boxes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    lab = 2 * torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    inside = torch.rand(2, *size, generator=generator) > 0.5
    return (2 * logits).softmax(1), lab, inside


def pair_loop(probs, lab, inside, threshold, dilation):
    losses = []
    for n, y, x in inside.nonzero().tolist():
        for dy in (-dilation, 0, dilation):
            for dx in (-dilation, 0, dilation):
                v, u = y + dy, x + dx
                if (dy, dx) == (0, 0) or not (0 <= v < lab.shape[2] and 0 <= u < lab.shape[3]):
                    continue
                distance = (lab[n, :, y, x] - lab[n, :, v, u]).norm().item()
                if math.exp(-distance / 2) >= threshold:
                    losses.append(-math.log((probs[n, :, y, x] * probs[n, :, v, u]).sum().item()))
    return sum(losses) / len(losses) if losses else 0.0


@each("threshold", [0.0, 0.1, 0.3, 1.0])
@each("dilation", [1, 2, 4, 9])
def test_color_pairs_equal_the_loop(threshold, dilation):
    parts = batch()
    loss = color_pair_loss(*parts, threshold, dilation)
    assert loss.item() == pytest.approx(pair_loop(*parts, threshold, dilation), abs=1e-9)


def test_color_pairs_by_default():
    parts = batch()
    expected = pair_loop(*parts, 0.3, 2)
    assert color_pair_loss(*parts).item() == pytest.approx(expected, abs=1e-9)
    assert expected > 0.5


def test_color_pairs_gradient():
    probs, lab, inside = batch((4, 4))
    assert torch.autograd.gradcheck(
        lambda z: color_pair_loss(z.softmax(1), lab, inside), probs.log().requires_grad_()
    )


def test_color_pairs_without_a_box_are_0_with_a_zero_gradient():
    probs, lab, inside = batch()
    probs.requires_grad_()
    loss = color_pair_loss(probs, lab, torch.zeros_like(inside))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(probs.grad, torch.zeros_like(probs))


def test_color_pairs_that_contradict_stay_finite():
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0, 0] = torch.tensor([300.0, -300, 300, -300])
    logits.requires_grad_()
    everywhere = torch.ones(1, 1, 4).bool()
    loss = color_pair_loss(logits.softmax(1), torch.zeros(1, 3, 1, 4), everywhere, dilation=1)
    loss.backward()
    assert 27 < loss < 28
    assert logits.grad.isfinite().all()


def test_color_pairs_symmetries():
    parts = batch()
    expected = color_pair_loss(*parts)
    for dims in ((-1,), (-2,), (0,)):
        torch.testing.assert_close(color_pair_loss(*(x.flip(dims) for x in parts)), expected)
    torch.testing.assert_close(color_pair_loss(parts[0][:, [2, 0, 1]], *parts[1:]), expected)


def test_color_pairs_outside_boxes_do_not_count():
    probs, lab, inside = batch()
    inside[:, :, 2:] = False
    expected = color_pair_loss(probs, lab, inside)
    probs[..., 4:], lab[..., 4:] = 0.2, 0.0
    torch.testing.assert_close(color_pair_loss(probs, lab, inside), expected)


def test_color_pairs_padding_of_another_colour_changes_nothing():
    parts = batch()
    padded = [F.pad(x, (7, 7, 7, 7), value=99 if x is parts[1] else 0) for x in parts]
    torch.testing.assert_close(color_pair_loss(*padded), color_pair_loss(*parts))


def boxes():
    generator = torch.Generator().manual_seed(1)
    probs = torch.rand(3, 5, 6, generator=generator, dtype=torch.float64)
    masks = torch.zeros(3, 5, 6)
    masks[0, 1:3, 2:5] = masks[1, :, 0:2] = masks[2, 4, 5] = 1
    return probs, masks


def projection_loop(probs, masks):
    total = 0.0
    for p, m in zip(probs.tolist(), masks.tolist(), strict=True):
        for rows, box in ((p, m), (list(zip(*p, strict=True)), list(zip(*m, strict=True)))):
            x, t = [max(row) for row in rows], [max(row) for row in box]
            product = sum(a * b for a, b in zip(x, t, strict=True))
            size = sum(a * a for a in x) + sum(b * b for b in t) + 1e-5
            total += 1 - 2 * product / size
    return total / len(probs)


def test_projections_equal_the_loop():
    probs, masks = boxes()
    expected = projection_loop(probs, masks)
    for given in (masks, masks.bool()):
        assert box_projection_loss(probs, given).item() == pytest.approx(expected, abs=1e-9)


def test_projections_gradient():
    probs, masks = boxes()
    assert torch.autograd.gradcheck(lambda p: box_projection_loss(p, masks), probs.requires_grad_())


def test_projections_of_no_box_are_0():
    probs = torch.zeros(0, 5, 6, requires_grad=True)
    loss = box_projection_loss(probs, torch.zeros(0, 5, 6))
    loss.backward()
    assert loss.item() == 0


def test_projections_padding_changes_nothing():
    padded = [F.pad(x, (7, 7, 7, 7)) for x in boxes()]
    torch.testing.assert_close(box_projection_loss(*padded), box_projection_loss(*boxes()))


def test_projections_symmetries():
    parts = boxes()
    expected = box_projection_loss(*parts)
    for dims in ((0,), (1,), (2,)):
        torch.testing.assert_close(box_projection_loss(*(x.flip(dims) for x in parts)), expected)
    turned = box_projection_loss(*(x.transpose(1, 2) for x in parts))
    torch.testing.assert_close(turned, expected)


def test_float32_under_autocast():
    probs, lab, inside = batch()
    masks = boxes()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [
            color_pair_loss(probs.bfloat16(), lab.bfloat16(), inside),
            box_projection_loss(masks[0].bfloat16(), masks[1].bfloat16()),
        ]
    expected = [
        color_pair_loss(probs.bfloat16().float(), lab.bfloat16().float(), inside),
        box_projection_loss(masks[0].bfloat16().float(), masks[1]),
    ]
    assert {loss.dtype for loss in losses} == {torch.float32}
    torch.testing.assert_close(losses, expected)


def test_what_does_not_fit_is_refused():
    probs, lab, inside = batch()
    for wrong in ((probs[:1], lab, inside), (probs, lab[:, 1:], inside), (probs, lab, inside[0])):
        with pytest.raises(ValueError, match="do not fit"):
            color_pair_loss(*wrong)
    for options in ({"threshold": 1.5}, {"threshold": -0.1}, {"dilation": 0}):
        with pytest.raises(ValueError, match="give a similarity in"):
            color_pair_loss(probs, lab, inside, **options)
    with pytest.raises(ValueError, match="do not fit"):
        box_projection_loss(boxes()[0], boxes()[1][:2])
