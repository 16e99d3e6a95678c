"""Similarity of pairs of pixels: whether they share a class, and losses from it."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_equal_shapes

DistillationKind = Literal["cce", "ce", "b0.5"]

# Pairs are counted in every fifth row and column.
COUNT_STRIDE = 5


def base_pixels(labels: Tensor, is_base: Tensor) -> Tensor:
    """Find the labels of base classes, bool; values outside [0, K), such as 255, are none.

    Args:
        labels: Class indices, any shape, int64.
        is_base: (K,) bool.

    >>> base_pixels(torch.tensor([0, 1, 2, 255]), torch.tensor([True, False, True]))
    tensor([ True, False,  True, False])
    """
    inside = (labels >= 0) & (labels < len(is_base))
    return is_base[torch.where(inside, labels, 0)] & inside


def pair_targets(labels: Tensor, partner: Tensor, is_base: Tensor) -> tuple[Tensor, Tensor]:
    """Determine which pairs of pixels share a class, and which of them are known.

    Args:
        labels: Classes of the points of an image, (..., P) int64; 255 where unknown.
        partner: Classes of the points of its partner, (..., R) int64.
        is_base: Whether a class has masks, (K,) bool.

    Returns:
        `same` and `valid`, (..., P, R) bool. Equal labels are the same, also 255 and 255. A pair is
        valid if at least one of its labels is of a base class.

    >>> same, valid = pair_targets(
    ...     torch.tensor([0, 255]), torch.tensor([0, 1, 255]), torch.tensor([True, False]))
    >>> same.int().tolist(), valid.int().tolist()
    ([[1, 0, 0], [0, 0, 1]], [[1, 1, 1], [1, 0, 0]])
    """
    if labels.ndim == 0 or labels.shape[:-1] != partner.shape[:-1]:
        raise ValueError(
            f"labels {tuple(labels.shape)} and partner {tuple(partner.shape)} do not fit; "
            "give (..., P) and (..., R)"
        )
    rows, columns = labels[..., :, None], partner[..., None, :]
    return rows == columns, base_pixels(rows, is_base) | base_pixels(columns, is_base)


def pair_counts(same: Tensor) -> Tensor:
    """Count positive and negative pairs (..., P, R), (2,) float32: an entry for `pair_balance`.

    Every fifth row and column counts, also invalid pairs.

    >>> pair_counts(torch.eye(10).bool())
    tensor([2., 2.])
    """
    sparse = same[..., ::COUNT_STRIDE, ::COUNT_STRIDE]
    positives = sparse.sum(dtype=torch.float32)
    return torch.stack([positives, sparse.numel() - positives])


def pair_balance(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute weights that balance positive and negative pairs.

    Args:
        counts: Positive and negative pairs, (..., 2), summed over the leading dimensions. The
            authors' code sums a queue of the last 25, which starts with an entry (1, 1).

    Returns:
        `w_neg`, the share of the positives, and `w_pos`, that of the negatives: scalars that sum to
        1, or both 0 if nothing was counted.

    >>> pair_balance(torch.tensor([[1.0, 1.0], [1.0, 5.0]]))
    (tensor(0.2500), tensor(0.7500))
    """
    totals = counts.reshape(-1, 2).sum(0)
    w_neg, w_pos = totals / totals.sum().clamp_min(1)
    return w_neg, w_pos


def pair_similarity_loss(
    similarity: Tensor,
    same: Tensor,
    valid_pairs: Tensor,
    w_neg: float | Tensor,
    w_pos: float | Tensor,
) -> Tensor:
    """Average a weighted binary cross-entropy over the valid pairs.

    Args:
        similarity: Probability that a pair shares a class, in [0, 1], any shape; its log is at
            least -100.
        same: Whether it is, the same shape, bool.
        valid_pairs: Which pairs count, the same shape, bool.
        w_neg: Weight of a pair of different classes.
        w_pos: Weight of a pair of the same class.

    Returns:
        A float32 scalar (float64 for float64 input); 0 with a zero gradient if no pair is valid.

    Chen et al. (SimFormer), NeurIPS 2022. The divisor is the number of pairs, not of weights.

    >>> similarity, valid = torch.tensor([0.5, 0.5, 0.9]), torch.tensor([True, True, False])
    >>> pair_similarity_loss(similarity, torch.tensor([True, False, False]), valid, 0.2, 0.8)
    tensor(0.3466)
    """
    check_equal_shapes("give one shape", similarity=similarity, same=same, valid_pairs=valid_pairs)
    similarity = at_least_float32(similarity)
    truth = same.to(similarity.dtype)
    # Autocast refuses the cross-entropy of probabilities. Its weight argument would import sympy,
    # which takes seconds.
    with torch.autocast(similarity.device.type, enabled=False):
        # NaN would abort the process on a GPU.
        entropy = F.binary_cross_entropy(similarity.nan_to_num(0.5), truth, reduction="none")
    weight = (w_neg + (w_pos - w_neg) * truth) * valid_pairs
    # Restores a NaN in the loss.
    entropies = (weight * entropy).sum() + 0 * similarity.detach().sum()
    return entropies / valid_pairs.sum().clamp_min(1)


def score_similarity(scores: Tensor, partner: Tensor) -> Tensor:
    """Compute the cosine of the class scores of all pairs of pixels, clamped at 0.

    Args:
        scores: Scores of the novel classes at the points of an image, (..., P, D).
        partner: Scores at the partner's points, (..., R, D).

    Returns:
        (..., P, R) in [0, 1], float32 (float64 for float64 scores); 0 for all-zero scores.

    >>> score_similarity(torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]]))
    tensor([[1., 0.]])
    """
    if scores.ndim < 2 or scores.shape[:-2] + scores.shape[-1:] != (
        partner.shape[:-2] + partner.shape[-1:]
    ):
        raise ValueError(
            f"scores {tuple(scores.shape)} and partner {tuple(partner.shape)} do not fit; "
            "give (..., P, D) and (..., R, D)"
        )
    scores = at_least_float32(scores)
    with torch.autocast(scores.device.type, enabled=False):
        unit, other = (F.normalize(side.to(scores.dtype), dim=-1) for side in (scores, partner))
        return (unit @ other.transpose(-1, -2)).clamp(0, 1)


def similarity_distillation_loss(
    student: Tensor, teacher: Tensor, kind: DistillationKind
) -> Tensor:
    """Distil the network's similarity t into the similarity s of scores, averaged over all pairs.

    * ``cce``: -relu(t - 0.5) log(1 + s) - relu(0.5 - t) log(2 - s). It is never above 0, and 0
      where the teacher is undecided.
    * ``ce``: binary cross-entropy, t and s both clamped to [0.01, 0.99].
    * ``b0.5``: -(t - 0.5) s.

    Args:
        student: In [0, 1], any shape.
        teacher: In [0, 1], the same shape; detached.
        kind: "cce", "ce" or "b0.5".

    Returns:
        A float32 scalar (float64 for float64 input); 0 if there is no pair.

    Chen et al. (SimFormer), NeurIPS 2022; the three kinds of the authors' code.

    >>> student, teacher = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.5])
    >>> similarity_distillation_loss(student, teacher, "b0.5")
    tensor(-0.2500)
    """
    check_equal_shapes("give one shape", student=student, teacher=teacher)
    s = at_least_float32(student)
    t = teacher.detach().to(s.dtype)
    if kind == "cce":
        pairs = -(t - 0.5).relu() * s.log1p() - (0.5 - t).relu() * (2 - s).log()
    elif kind == "ce":
        s, t = s.clamp(0.01, 0.99), t.clamp(0.01, 0.99)
        pairs = -t * s.log() - (1 - t) * (1 - s).log()
    elif kind == "b0.5":
        pairs = (0.5 - t) * s
    else:
        raise ValueError(f"kind is {kind!r}; give 'cce', 'ce' or 'b0.5'")
    return pairs.sum() / max(1, pairs.numel())
