"""Self-regulation against loops over exits, pixels and classes."""

import math

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import feature_regulation_loss, self_regulation_loss


def case(seed=0, exits=3):
    generator = torch.Generator().manual_seed(seed)
    seg = [2 * torch.randn(2, 4, 3, 5, generator=generator) for _ in range(exits)]
    cls = [2 * torch.randn(2, 4, generator=generator) for _ in range(exits)]
    mask = torch.randint(0, 4, (2, 3, 5), generator=generator)
    mask[:, 0, :3] = 255
    labels = torch.randint(0, 2, (2, 4), generator=generator).float()
    return seg, cls, mask, labels


def softmax(values, tau=1.0):
    powers = [math.exp(value / tau) for value in values]
    return [power / sum(powers) for power in powers]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def bernoulli(scores, targets, tau=1.0):
    total = 0.0
    for row, wanted in zip(scores.tolist(), targets, strict=True):
        for score, target in zip(row, wanted, strict=True):
            p = sigmoid(score / tau)
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return total / scores.numel()


def pixels(mask):
    return torch.nonzero(mask != 255).tolist()


def reference(seg, cls, mask, labels, variant, tau):
    used = pixels(mask)

    def mean(loss_of):
        return sum(loss_of(n, y, x) for n, y, x in used) / max(len(used), 1)

    def column(z, n, y, x):
        return z[n, :, y, x].tolist()

    tau = tau if variant == "soft" else 1.0
    losses = {
        "cls": sum(bernoulli(s, labels.tolist()) for s in cls),
        "seg": sum(
            mean(lambda n, y, x, z=z: -math.log(softmax(column(z, n, y, x))[int(mask[n, y, x])]))
            for z in seg
        ),
    }

    def detail(z):
        def loss(n, y, x):
            teacher, student = column(seg[0], n, y, x), column(z, n, y, x)
            if variant == "code":
                return -math.log(softmax(student)[teacher.index(max(teacher))])
            pairs = zip(softmax(teacher, tau), softmax(student, tau), strict=True)
            return -sum(t * math.log(s) for t, s in pairs)

        return mean(loss)

    wanted = [[sigmoid(value / tau) for value in row] for row in cls[-1].tolist()]
    losses["sr_f"] = sum(detail(z) for z in seg[1:])
    losses["sr_l"] = sum(bernoulli(s, wanted, tau) for s in cls[:-1])
    total = 0.2 * losses["cls"] + 0.8 * losses["seg"] + losses["sr_f"] + losses["sr_l"]
    return losses | {"total": total}


@each(("variant", "tau"), [("code", 1.0), ("code", 3.0), ("soft", 1.0), ("soft", 2.5)])
@each("exits", [1, 2, 4])
def test_equals_the_loop(variant, tau, exits):
    seg, cls, mask, labels = case(exits=exits)
    losses = self_regulation_loss(seg, cls, mask, labels, variant, tau)
    expected = reference(seg, cls, mask, labels, variant, tau)
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_weights_are_of_cls_seg_and_both_regulations():
    seg, cls, mask, labels = case()
    losses = self_regulation_loss(seg, cls, mask, labels, "soft", weights=(2.0, 3.0, 5.0))
    expected = 2 * losses["cls"] + 3 * losses["seg"] + 5 * (losses["sr_f"] + losses["sr_l"])
    torch.testing.assert_close(losses["total"], expected)


@pytest.mark.parametrize("variant", ["code", "soft"])
def test_teachers_get_no_gradient(variant):
    seg, cls, mask, labels = case()
    for tensor in (*seg, *cls):
        tensor.requires_grad_()
    losses = self_regulation_loss(seg, cls, mask, labels, variant)
    (losses["sr_f"] + losses["sr_l"]).backward()
    assert seg[0].grad is None
    assert cls[-1].grad is None
    assert all(z.grad.any() for z in seg[1:])
    assert all(s.grad.any() for s in cls[:-1])


@pytest.mark.parametrize("variant", ["code", "soft"])
def test_a_mask_of_255_alone_has_no_pixel_loss_and_no_nan(variant):
    seg, cls, mask, labels = case()
    # Whatever stands on ignored pixels stays out.
    seg[1] = torch.full_like(seg[1], math.inf).requires_grad_()
    losses = self_regulation_loss(seg, cls, torch.full_like(mask, 255), labels, variant)
    assert losses["seg"] == losses["sr_f"] == 0
    assert losses["total"].isfinite()


def test_half_precision_gives_float32():
    seg, cls, mask, labels = case()
    halves = [z.bfloat16() for z in seg], [s.bfloat16() for s in cls]
    losses = self_regulation_loss(*halves, mask, labels, "soft", 2.0)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@each("tau", [1.0, 0.5])
def test_feature_regulation_equals_the_loop(tau):
    generator = torch.Generator().manual_seed(0)
    teacher, *students = (torch.randn(2, 4, 2, 3, generator=generator) for _ in range(3))
    valid = torch.rand(2, 2, 3, generator=generator) < 0.6
    expected = 0.0
    for student in students:
        for n, y, x in torch.nonzero(valid).tolist():
            pairs = zip(
                softmax(teacher[n, :, y, x].tolist(), tau),
                softmax(student[n, :, y, x].tolist(), tau),
                strict=True,
            )
            expected -= sum(t * math.log(s) for t, s in pairs) / int(valid.sum())
    teacher.requires_grad_(), students[0].requires_grad_()
    loss = feature_regulation_loss(students, teacher, valid, tau)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert teacher.grad is None
    assert not feature_regulation_loss(students, teacher, torch.zeros_like(valid), tau)


@each(
    ("change", "message"),
    [
        (lambda seg, cls, mask, labels: (seg[:1], cls, mask, labels, "soft"), "one of each"),
        (lambda seg, cls, mask, labels: ([], [], mask, labels, "soft"), "at least one exit"),
        (lambda seg, cls, mask, labels: (seg, cls, mask[:, 1:], labels, "soft"), "do not fit"),
        (lambda seg, cls, mask, labels: (seg, cls, mask, labels[:, 1:], "soft"), "do not fit"),
        (lambda seg, cls, mask, labels: (seg, cls, mask, labels, "hard"), "variant is 'hard'"),
        (lambda seg, cls, mask, labels: (seg, cls, mask, labels, "soft", 0.0), "tau is 0"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        self_regulation_loss(*change(*case()))


def test_features_of_other_shapes_are_refused():
    teacher, valid = torch.zeros(1, 2, 3, 3), torch.ones(1, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="give all maps"):
        feature_regulation_loss([teacher[:, :1]], teacher, valid)
    with pytest.raises(ValueError, match="tau is -1"):
        feature_regulation_loss([teacher], teacher, valid, -1)
