"""Refit the class layer of a network to the labelled pixels of one image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

_STEPS = 40  # of L-BFGS at most


def refit_classes(
    features: Tensor, logits: Tensor, counts: Tensor, penalty: float = 1e-4
) -> Tensor:
    """Correct the logits of one image by a linear layer that is fit to its own labels.

    The correction of a cell with features f is W [f / s, 1], with s^2 the mean of |f|^2 over the
    cells. W minimises the mean cross-entropy of the labelled pixels plus ``penalty`` |W|^2. This
    is a convex problem; L-BFGS starts at 0.

    Args:
        features: Input of the class layer, (D, h, w).
        logits: Its output, (C, h, w), finite. Leave out classes that have no label in the image:
            they would be ruled out everywhere.
        counts: Labelled pixels of each class in each cell, (C, h, w), at least 0.
        penalty: Weight of |W|^2, above 0.

    Returns:
        Corrected logits, (C, h, w), at least float32. With fewer than two labelled classes they
        stay as they are. No gradient passes through W.

    Logistic regression in each image; we know of no paper with it.
    """
    wanted = "(D, h, w), (C, h, w) and (C, h, w)"
    check_shapes(wanted, features=features, logits=logits, counts=counts)
    if not penalty > 0:
        raise ValueError(f"penalty is {penalty}; give a weight > 0")
    logits = at_least_float32(logits)
    if (counts.flatten(1).sum(1) > 0).sum() < 2:
        return logits
    with torch.autocast(logits.device.type, enabled=False):
        return logits + _correction(features.to(logits), logits, counts.to(logits), penalty)


@torch.no_grad()
def _correction(features: Tensor, logits: Tensor, counts: Tensor, penalty: float) -> Tensor:
    """Compute the correction of all cells, (C, h, w)."""
    labeled = counts.sum(0) > 0
    norm = torch.linalg.vector_norm(features) / labeled.numel() ** 0.5
    norm = norm.clamp(min=torch.finfo(norm.dtype).tiny)
    inputs = F.pad(features[:, labeled].T / norm, (0, 1), value=1.0)
    layer = _fit(inputs, logits[:, labeled].T, counts[:, labeled].T / counts.sum(), penalty)
    weight, bias = layer[:, :-1] / norm, layer[:, -1]
    return F.conv2d(features[None], weight[:, :, None, None], bias)[0]


def _fit(inputs: Tensor, starts: Tensor, share: Tensor, penalty: float) -> Tensor:
    """Fit a layer (C, D + 1) to P inputs (P, D + 1), logits (P, C) and shares of labels (P, C)."""
    layer = inputs.new_zeros(starts.shape[1], inputs.shape[1])
    total = share.sum(1, keepdim=True)
    solver = torch.optim.LBFGS([layer], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        log_probs = (starts + inputs @ layer.T).log_softmax(1)
        # By hand: predictions run in inference mode, which has no automatic gradients.
        layer.grad = (total * log_probs.exp() - share).T @ inputs + 2 * penalty * layer
        return penalty * layer.square().sum() - (share * log_probs).sum()

    solver.step(loss)  # type: ignore[no-untyped-call]
    return layer
