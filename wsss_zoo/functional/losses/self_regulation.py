"""Losses by which the exits of a network supervise each other."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.losses.cross_entropy import masked_cross_entropy
from wsss_zoo.functional.tensors import at_least_float32


def self_regulation_loss(
    seg_logits: Sequence[Tensor],
    class_logits: Sequence[Tensor],
    mask: Tensor,
    image_labels: Tensor,
    variant: Literal["code", "soft"],
    tau: float = 1.0,
    weights: tuple[float, float, float] = (0.2, 0.8, 1.0),
) -> dict[str, Tensor]:
    """Compute losses of all exits: ground truth, shallow detail and deep semantics.

    * ``cls``: binary cross-entropy of each exit's class scores against the presence of classes.
    * ``seg``: cross-entropy of each exit's pixels against the mask.
    * ``sr_f``: loss of each deeper exit's pixels against the shallowest exit's. ``code``:
      cross-entropy with its argmax. ``soft``: -sum_c softmax(z_1 / tau)_c log softmax(z_k / tau)_c.
    * ``sr_l``: binary cross-entropy of each shallower exit's class scores against the deepest
      exit's probabilities. ``soft`` divides both sides' logits by tau.

    Each is a sum over exits of means over the batch, its classes or the pixels that are not 255;
    ``total`` = weights[0] cls + weights[1] seg + weights[2] (sr_f + sr_l). Teachers are detached.
    There is no factor tau^2.

    Args:
        seg_logits: Scores of the exits (one at least), shallow to deep, each (N, C, H, W).
        class_logits: Class scores of the exits before the sigmoid, same order, each (N, C).
        mask: Class index per pixel, (N, H, W) int64; 255 counts in no term.
        image_labels: Presence of each class, the background included, (N, C), 0 or 1.
        variant: "code" or "soft".
        tau: Temperature of ``soft``, above 0; unused in ``code``.
        weights: Weights of cls, of seg, and of sr_f and sr_l.

    Returns:
        Float32 scalars ``cls``, ``seg``, ``sr_f``, ``sr_l`` and ``total`` (float64 for float64
        scores). A mask of 255 alone gives seg = sr_f = 0; one exit alone gives sr_f = sr_l = 0.

    Zhang et al., "Self-Regulation for Semantic Segmentation", ICCV 2021. ``code`` follows
    dongzhang89/SR-SS @ 90a8e86, except that the authors' code maps 255 to the background first and
    counts those pixels. ``soft`` is this implementation's reading of the paper's tempered
    cross-entropy. The paper's axis and temperature are unknown, so ``soft`` does not reproduce its
    numbers.

    >>> seg = [torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)]
    >>> labels = torch.tensor([[1.0, 0.0]])
    >>> mask = torch.zeros(1, 1, 1, dtype=torch.int64)
    >>> losses = self_regulation_loss(seg, [labels * 0, labels * 0], mask, labels, "soft")
    >>> [round(losses[name].item(), 4) for name in ("cls", "seg", "sr_f", "sr_l", "total")]
    [1.3863, 1.3863, 0.6931, 0.6931, 2.7726]
    """
    _check(seg_logits, class_logits, mask, image_labels)
    if variant not in ("code", "soft"):
        raise ValueError(f"variant is {variant!r}; give 'code' or 'soft'")
    if tau <= 0:
        raise ValueError(f"tau is {tau}; give a temperature above 0")
    seg = [at_least_float32(z) for z in seg_logits]
    cls = [at_least_float32(s) for s in class_logits]
    present = image_labels.to(cls[0].dtype)
    zero = seg[0].new_zeros(())
    scale = tau if variant == "soft" else 1.0
    semantics = (cls[-1].detach() / scale).sigmoid()
    losses = {
        "cls": sum((F.binary_cross_entropy_with_logits(s, present) for s in cls), zero),
        "seg": sum((masked_cross_entropy(z, mask) for z in seg), zero),
        "sr_f": sum((_detail_loss(z, seg[0].detach(), mask, variant, tau) for z in seg[1:]), zero),
        "sr_l": sum(
            (F.binary_cross_entropy_with_logits(s / scale, semantics) for s in cls[:-1]), zero
        ),
    }
    taught = losses["sr_f"] + losses["sr_l"]
    total = weights[0] * losses["cls"] + weights[1] * losses["seg"] + weights[2] * taught
    return losses | {"total": total}


def feature_regulation_loss(
    features: Sequence[Tensor], teacher: Tensor, valid: Tensor, tau: float = 1.0
) -> Tensor:
    """Distil the shallowest feature map's channel distributions into the deeper ones.

    The loss is -sum_d softmax(t / tau)_d log softmax(s / tau)_d per position, averaged over the
    valid ones and summed over the students.

    Args:
        features: Feature maps of the students, on one grid, each (N, D, h, w).
        teacher: Feature map of the teacher, (N, D, h, w); detached.
        valid: Positions that count, (N, h, w) bool.
        tau: Temperature, above 0.

    Returns:
        A float32 scalar (float64 for float64 features); 0 if no position is valid.

    Zhang et al., ICCV 2021, as a note on the paper describes its self-regulation on features. How
    the paper matches channels and sizes is unknown. The authors' code has no such loss.

    >>> teacher = torch.zeros(1, 2, 1, 1)
    >>> feature_regulation_loss([teacher, teacher], teacher, torch.ones(1, 1, 1).bool())
    tensor(1.3863)
    """
    shapes = {tuple(map_.shape) for map_ in (*features, teacher)}
    if len(shapes) > 1 or valid.shape != (len(teacher), *teacher.shape[2:]):
        raise ValueError(
            f"features and teacher are {sorted(shapes)}, valid {tuple(valid.shape)}; give all maps "
            "as (N, D, h, w) and (N, h, w)"
        )
    if tau <= 0:
        raise ValueError(f"tau is {tau}; give a temperature above 0")
    wanted = at_least_float32(teacher).detach()
    zero = wanted.new_zeros(())
    return sum((_soft_mean(at_least_float32(map_), wanted, valid, tau) for map_ in features), zero)


def _detail_loss(
    student: Tensor, teacher: Tensor, mask: Tensor, variant: str, tau: float
) -> Tensor:
    if variant == "soft":
        return _soft_mean(student, teacher, mask != 255, tau)
    label = teacher.argmax(1).masked_fill(mask == 255, 255)
    return masked_cross_entropy(student, label)


def _soft_mean(student: Tensor, teacher: Tensor, valid: Tensor, tau: float) -> Tensor:
    """Average the cross-entropy of tempered softmaxes over dim 1, over valid positions."""
    entropy = -((teacher / tau).softmax(1) * (student / tau).log_softmax(1)).sum(1)
    # where, not a product: ignored positions may hold anything.
    return torch.where(valid, entropy, 0.0).sum() / valid.sum().clamp_min(1)


def _check(
    seg_logits: Sequence[Tensor],
    class_logits: Sequence[Tensor],
    mask: Tensor,
    image_labels: Tensor,
) -> None:
    pixels = {tuple(z.shape) for z in seg_logits}
    scores = {tuple(s.shape) for s in class_logits} | {tuple(image_labels.shape)}
    if not len(seg_logits) == len(class_logits) > 0:
        raise ValueError(
            f"{len(seg_logits)} maps and {len(class_logits)} score vectors; give one of each per "
            "exit, and at least one exit"
        )
    first = seg_logits[0].shape
    if len(pixels) > 1 or mask.shape != (first[0], *first[2:]) or scores != {tuple(first[:2])}:
        raise ValueError(
            f"maps {sorted(pixels)}, mask {tuple(mask.shape)} and scores and labels "
            f"{sorted(scores)} do not fit; give (N, C, H, W), (N, H, W) and (N, C)"
        )
