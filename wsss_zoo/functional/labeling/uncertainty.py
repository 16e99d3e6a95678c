"""How sure a segmenter is of each pixel, and the temperature that makes its word count."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes

# Bounds of the natural logarithm of a temperature.
_LOG_BOUNDS = (-3.0, 3.0)


def pixel_entropy(probs: Tensor) -> Tensor:
    """Compute the entropy of each pixel's classes, as a share of the largest possible one.

    Args:
        probs: Probabilities along dimension 0, (C, ...), C >= 2.

    Returns:
        Shares in [0, 1], (...).

    >>> pixel_entropy(torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
    tensor([1., 0.])
    """
    _check_classes(probs)
    entropy: Tensor = torch.special.entr(probs).sum(0)
    return entropy / math.log(len(probs))


def pixel_margin(probs: Tensor) -> Tensor:
    """Compute how close the second class of each pixel comes to the first: 1 - (p1 - p2).

    Args:
        probs: Probabilities along dimension 0, (C, ...), C >= 2.

    Returns:
        Closeness in [0, 1], (...); 1 where two classes are equally probable.

    >>> pixel_margin(torch.tensor([[0.5], [0.25], [0.25]]))
    tensor([0.7500])
    """
    _check_classes(probs)
    first, second = probs.topk(2, 0).values
    margin: Tensor = 1 - (first - second)
    return margin


def view_disagreement(views: Tensor) -> Tensor:
    """Compute the Jensen-Shannon divergence between several predictions of each pixel.

    It is the entropy of their mean less the mean of their entropies, as a share of the largest
    possible one. Predictions that are equally unsure do not disagree.

    Args:
        views: Probabilities by view and class, (V, C, ...), V >= 2 and C >= 2.

    Returns:
        Shares in [0, 1], (...).

    Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Transactions on Information
    Theory 1991; as a criterion for labelling: McCallum and Nigam, ICML 1998.

    >>> view_disagreement(torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]]))
    tensor([1.])
    """
    if views.ndim < 2 or len(views) < 2:
        raise ValueError(f"views has shape {tuple(views.shape)}; give (V, C, ...) of two or more")
    _check_classes(views[0])
    classes = views.shape[1]
    of_mean = pixel_entropy(views.mean(0))
    mean = torch.stack([pixel_entropy(view) for view in views]).mean(0)
    most = math.log(min(len(views), classes)) / math.log(classes)
    return ((of_mean - mean) / most).clamp(0, 1)


def scale_probs(probs: Tensor, temperature: float) -> Tensor:
    """Soften (temperature above 1) or sharpen (below 1) probabilities along dimension 0.

    The result is the softmax of the logarithms divided by the temperature: for a softmax it equals
    dividing the logits. The order of the classes stays.

    >>> scale_probs(torch.tensor([0.8, 0.2]), 2.0)
    tensor([0.6667, 0.3333])
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0")
    return (_logs(probs) / temperature).softmax(0)


def fit_temperature(probs: Tensor, target: Tensor) -> float:
    """Find the temperature for `scale_probs` at which true classes are most probable.

    Args:
        probs: Probabilities of pixels that the network was not trained on, (C, N).
        target: Their true class index, (N,) integers; 255 does not count.

    Returns:
        Temperature in [0.05, 20], the minimiser of the mean negative log-likelihood.

    Raises:
        ValueError: If there is no pixel with a class.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    check_shapes("(C, N) and (N)", probs=probs, target=target)
    known = target != 255
    if not known.any():
        raise ValueError("target has no pixel with a class; give masks that are not 255 everywhere")
    logs, classes = _logs(probs[:, known]).double(), target[known].long()

    def loss(log_temperature: float) -> float:
        scaled = (logs / math.exp(log_temperature)).log_softmax(0)
        return -float(scaled.gather(0, classes[None]).mean())

    found = minimize_scalar(loss, bounds=_LOG_BOUNDS, method="bounded")
    return math.exp(found.x)


def _logs(probs: Tensor) -> Tensor:
    return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()


def _check_classes(probs: Tensor) -> None:
    if probs.ndim < 1 or len(probs) < 2:
        raise ValueError(
            f"probs has shape {tuple(probs.shape)}; give (C, ...) of 2 or more classes"
        )
