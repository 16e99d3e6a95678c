"""Consistency between two predictions of the same pixels, and the ramp-up of its weight."""

import math

from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32


def softmax_mse_loss(
    student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Average the squared difference of two softmaxes over all pixels and classes.

    Args:
        student_logits: Scores, (N, C, H, W).
        teacher_logits: Scores of the same shape, detached.
        valid: Pixels that count, (N, H, W) bool; None for all.

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if no pixel counts.

    Tarvainen & Valpola, "Mean teachers are better role models", NIPS 2017. Because of the mean over
    classes, a weight of 100 is one of 100 / C per pixel.

    >>> import torch
    >>> softmax_mse_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[[99.0]], [[0.0]]]]))
    tensor(0.2500)
    """
    student_logits = at_least_float32(student_logits)
    student = student_logits.softmax(1)
    teacher = teacher_logits.detach().to(student_logits.dtype).softmax(1)
    if valid is None:
        return (student - teacher).square().mean()
    return masked_squared_error(student, teacher, valid)


def masked_squared_error(probs: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Average the squared difference of two distributions over the valid pixels and all classes.

    Args:
        probs: Probabilities, (N, C, H, W).
        target: Probabilities of the same shape; gradients flow through both.
        valid: Pixels that count, (N, H, W) bool.

    Returns:
        A float32 scalar (float64 for float64 input); 0 if no pixel counts.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithms 1 and 2.
    Because of the mean over classes, a weight of 100 is one of 100 / C per pixel.

    >>> import torch
    >>> probs, valid = torch.zeros(1, 2, 1, 2), torch.tensor([[[True, False]]])
    >>> masked_squared_error(probs, torch.full_like(probs, 0.5), valid)
    tensor(0.2500)
    """
    probs = at_least_float32(probs)
    square = (probs - target.to(probs.dtype)).square()
    total = (square * valid[:, None]).sum()
    return total / (valid.sum() * square.shape[1]).clamp_min(1)


def sigmoid_rampup(step: float, length: float) -> float:
    """Compute a weight that grows as exp(-5 (1 - step / length)^2), and is 1 from `length` on.

    Args:
        step: Steps (or epochs) done, from 0.
        length: Number of steps of the growth, >= 0; 0 for none.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017.

    >>> round(sigmoid_rampup(0, 10), 4), sigmoid_rampup(10, 10), sigmoid_rampup(0, 0)
    (0.0067, 1.0, 1.0)
    """
    if length < 0:
        raise ValueError(f"length is {length}; give a number of steps >= 0")
    if step >= length:
        return 1.0
    return math.exp(-5.0 * (1.0 - max(step, 0.0) / length) ** 2)
