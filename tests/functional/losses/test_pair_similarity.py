import math

import pytest
import torch

from wsss_zoo.functional import (
    base_pixels,
    pair_balance,
    pair_counts,
    pair_similarity_loss,
    pair_targets,
    score_similarity,
    similarity_distillation_loss,
)

IS_BASE = torch.tensor([True, True, False, True])
KINDS = ["cce", "ce", "b0.5"]


def pairs(shape=(2, 3, 4), dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    similarity = torch.rand(shape, generator=rng, dtype=dtype) * 0.98 + 0.01
    return (
        similarity,
        torch.rand(shape, generator=rng) > 0.6,
        torch.rand(shape, generator=rng) > 0.3,
    )


def triples(*parts):
    return zip(*(part.flatten().tolist() for part in parts), strict=True)


def test_targets_equal_a_pair_at_a_time():
    labels = torch.tensor([[0, 1, 2, 255, 3], [255, 2, 0, 0, 4]])
    partner = torch.tensor([[255, 0, 2, 1], [2, 255, 3, 0]])
    same, valid = pair_targets(labels, partner, IS_BASE)
    assert same.shape == valid.shape == (2, 5, 4)
    base = {0, 1, 3}
    for n in range(2):
        for i, first in enumerate(labels[n].tolist()):
            for j, second in enumerate(partner[n].tolist()):
                assert same[n, i, j] == (first == second)
                assert valid[n, i, j] == (first in base or second in base)


def test_what_no_class_is_is_no_base_class():
    assert base_pixels(torch.tensor([[-1, 4, 254], [255, 0, 2]]), IS_BASE).tolist() == [
        [False, False, False],
        [False, True, False],
    ]


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., P\) and \(\.\.\., R\)"):
        pair_targets(torch.zeros(2, 3).long(), torch.zeros(3, 3).long(), IS_BASE)


def test_counts_are_those_of_every_fifth_row_and_column():
    same = pairs((2, 13, 11))[1]
    picked = [bool(same[n, i, j]) for n in range(2) for i in (0, 5, 10) for j in (0, 5, 10)]
    assert pair_counts(same).tolist() == [sum(picked), len(picked) - sum(picked)]


def test_weights_make_both_kinds_count_alike():
    counts = torch.tensor([[1.0, 1.0], [30.0, 370.0], [10.0, 390.0]])
    w_neg, w_pos = pair_balance(counts)
    assert w_neg.item() == pytest.approx(41 / 802)
    assert w_pos.item() == pytest.approx(761 / 802)
    assert (w_neg * 761).item() == pytest.approx((w_pos * 41).item())
    assert pair_balance(torch.zeros(2)) == (0, 0)


def test_pair_loss_equals_a_pair_at_a_time():
    similarity, same, valid = pairs()
    total = 0.0
    for s, equal, counts in triples(similarity, same, valid):
        if counts:
            total -= 0.7 * math.log(s) if equal else 0.3 * math.log(1 - s)
    loss = pair_similarity_loss(similarity, same, valid, 0.3, 0.7)
    assert loss.item() == pytest.approx(total / valid.sum().item(), rel=1e-5)
    weights = torch.tensor(0.3), torch.tensor(0.7)
    torch.testing.assert_close(pair_similarity_loss(similarity, same, valid, *weights), loss)


def test_pair_loss_sends_its_gradient_to_valid_pairs_alone():
    similarity, same, valid = pairs(dtype=torch.float64)
    similarity.requires_grad_()
    pair_similarity_loss(similarity, same, valid, 0.3, 0.7).backward()
    assert torch.equal(similarity.grad != 0, valid)
    assert torch.autograd.gradcheck(
        lambda s: pair_similarity_loss(s, same, valid, 0.3, 0.7), similarity
    )


def test_no_valid_pair_is_0_with_a_zero_gradient():
    similarity, same, valid = pairs()
    similarity.requires_grad_()
    loss = pair_similarity_loss(similarity, same, torch.zeros_like(valid), 0.3, 0.7)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(similarity.grad, torch.zeros_like(similarity))
    nothing = torch.zeros(0, 4)
    assert pair_similarity_loss(nothing, nothing.bool(), nothing.bool(), 0.3, 0.7).item() == 0


def test_a_sure_similarity_stays_finite():
    logits = torch.tensor([1e4, -1e4], requires_grad=True)
    all_of_them = torch.ones(2).bool()
    loss = pair_similarity_loss(logits.sigmoid(), torch.tensor([False, True]), all_of_them, 1, 1)
    loss.backward()
    assert loss.item() == 100
    assert logits.grad.isfinite().all()


def test_half_precision_gives_a_float32_pair_loss():
    similarity, same, valid = pairs()
    half = similarity.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = pair_similarity_loss(half, same, valid, 0.3, 0.7)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, pair_similarity_loss(half.float(), same, valid, 0.3, 0.7))


def test_pair_loss_of_other_shapes_is_refused():
    similarity, same, valid = pairs()
    with pytest.raises(ValueError, match="give one shape"):
        pair_similarity_loss(similarity, same[:1], valid, 0.5, 0.5)


def test_score_similarity_equals_a_pair_at_a_time():
    rng = torch.Generator().manual_seed(0)
    scores, partner = (torch.randn(2, P, 3, generator=rng) for P in (4, 5))
    partner[1, 2] = 0
    similarity = score_similarity(scores, partner)
    for n in range(2):
        for i, a in enumerate(scores[n].tolist()):
            for j, b in enumerate(partner[n].tolist()):
                norm = math.hypot(*a) * math.hypot(*b)
                dot = sum(x * y for x, y in zip(a, b, strict=True))
                expected = max(0.0, dot / norm) if norm else 0.0
                assert similarity[n, i, j].item() == pytest.approx(expected, abs=1e-6)


def test_score_similarity_is_a_share_and_float32():
    scores = torch.randn(200, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        similarity = score_similarity(scores, scores)
    assert similarity.dtype == torch.float32
    assert similarity.min() >= 0
    assert similarity.max() <= 1
    torch.testing.assert_close(similarity.diagonal(), torch.ones(200), rtol=0, atol=1e-5)


def test_scores_of_other_shapes_are_refused():
    for other in (torch.zeros(2, 5, 4), torch.zeros(1, 5, 3)):
        with pytest.raises(ValueError, match=r"\(\.\.\., P, D\) and \(\.\.\., R, D\)"):
            score_similarity(torch.zeros(2, 4, 3), other)


def naive_distillation(s, t, kind):
    if kind == "cce":
        return -max(t - 0.5, 0) * math.log(1 + s) - max(0.5 - t, 0) * math.log(2 - s)
    if kind == "b0.5":
        return -(t - 0.5) * s
    s, t = (min(max(value, 0.01), 0.99) for value in (s, t))
    return -t * math.log(s) - (1 - t) * math.log(1 - s)


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_equals_a_pair_at_a_time(kind):
    student, teacher = pairs()[0], pairs((2, 3, 4), torch.float64)[0].float()
    student[0, 0, :2], teacher[0, 0, :4] = torch.tensor([0.0, 1.0]), torch.tensor([0, 1, 0.5, 0])
    terms = [naive_distillation(*pair, kind) for pair in triples(student, teacher)]
    loss = similarity_distillation_loss(student, teacher, kind)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_student_learns_and_the_teacher_does_not(kind):
    student = torch.tensor([0.3, 0.3, 0.3], requires_grad=True)
    teacher = torch.tensor([0.9, 0.1, 0.5], requires_grad=True)
    similarity_distillation_loss(student, teacher, kind).backward()
    assert teacher.grad is None
    assert student.grad[0] < 0 < student.grad[1]
    if kind != "ce":
        assert student.grad[2] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_similarities_stay_finite(kind):
    student = torch.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    loss = similarity_distillation_loss(student, torch.tensor([0.0, 0.0, 1.0, 1.0]), kind)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_is_0(kind):
    student = torch.zeros(0, 3, requires_grad=True)
    loss = similarity_distillation_loss(student, torch.zeros(0, 3), kind)
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_gives_a_float32_distillation(kind):
    student, teacher = (part.bfloat16() for part in (pairs()[0], pairs()[0].flip(0)))
    with torch.autocast("cpu", torch.bfloat16):
        loss = similarity_distillation_loss(student, teacher, kind)
    assert loss.dtype == torch.float32
    expected = similarity_distillation_loss(student.float(), teacher.float(), kind)
    torch.testing.assert_close(loss, expected)


def test_bounded_cross_entropy_is_never_positive():
    student, teacher = pairs()[0], pairs()[0].flip(1)
    assert similarity_distillation_loss(student, teacher, "cce") <= 0


def test_distillation_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="give one shape"):
        similarity_distillation_loss(torch.zeros(2), torch.zeros(3), "cce")
    with pytest.raises(ValueError, match="kind is 'mse'"):
        similarity_distillation_loss(torch.zeros(2), torch.zeros(2), "mse")


def test_nothing_reads_the_device():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        labels = torch.zeros(2, 7, dtype=torch.int64, device="cuda")
        same, valid = pair_targets(labels, labels, torch.zeros(4, dtype=torch.bool, device="cuda"))
        weights = pair_balance(pair_counts(same))
        scores = torch.zeros(2, 7, 3, device="cuda")
        similarity = score_similarity(scores, scores)
        losses = [pair_similarity_loss(similarity, same, valid, *weights)]
        losses += [similarity_distillation_loss(similarity, similarity, kind) for kind in KINDS]
        assert {loss.device.type for loss in losses} == {"cuda"}
