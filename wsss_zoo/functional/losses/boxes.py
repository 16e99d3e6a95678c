"""Losses of masks that are known by their boxes only."""

import torch
from torch import Tensor

from wsss_zoo.functional.losses.pair_energy import shifted
from wsss_zoo.functional.tensors import at_least_float32, check_shapes


def color_pair_loss(
    probs: Tensor, lab: Tensor, inside: Tensor, threshold: float = 0.3, dilation: int = 2
) -> Tensor:
    """Average -log of the probability that two similar neighbours have the same class.

    A pair is a pixel in a box and one of its 8 neighbours, `dilation` pixels away, whose similarity
    exp(-|difference in Lab| / 2) is at least `threshold`. Its loss is -log sum_k P_k(i) P_k(j).

    Args:
        probs: Probabilities P, (N, C, h, w).
        lab: Colours in CIE Lab, (N, 3, h, w).
        inside: Pixels in a box, (N, h, w) bool.
        threshold: Least similarity of a pair that counts, in [0, 1].
        dilation: Distance of the neighbours in pixels, at least 1.

    Returns:
        A float32 scalar (float64 for float64 probabilities): the mean over the pairs, at most 27.6;
        0 with a zero gradient if there are none.

    Tian et al., "BoxInst: High-Performance Instance Segmentation with Box Annotations", CVPR 2021.
    This implementation has classes in place of one object's mask.

    >>> probs = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> color_pair_loss(probs, torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4).bool())
    tensor(0.6931)
    """
    check_shapes("(N, C, h, w) and (N, 3, h, w)", probs=probs, lab=lab)
    check_shapes("(N, 3, h, w) and (N, h, w)", lab=lab, inside=inside)
    if not 0 <= threshold <= 1 or dilation < 1:
        raise ValueError(
            f"threshold is {threshold} and dilation {dilation}; "
            "give a similarity in [0, 1] and a distance of at least 1"
        )
    probs = at_least_float32(probs)
    lab, inside = lab.detach().to(probs.dtype), inside.to(probs.dtype)[:, None]
    total, count = probs.new_zeros(()), probs.new_zeros(())
    # One of each two opposite neighbours: a pair counts once for each of its pixels in a box.
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        here, there = shifted(down * dilation, right * dilation)
        similarity = (-(lab[here] - lab[there]).square().sum(1, keepdim=True).sqrt() / 2).exp()
        weight = (similarity >= threshold) * (inside[here] + inside[there])
        same = (probs[here] * probs[there]).sum(1, keepdim=True)
        total = total - (same.clamp_min(1e-12).log() * weight).sum()
        count = count + weight.sum()
    return total / count.clamp_min(1)


def box_projection_loss(mask_probs: Tensor, box_masks: Tensor) -> Tensor:
    """Compare the projections of masks and of boxes onto the two axes with the dice loss.

    A projection x or t is the maximum over the rows, or over the columns. The loss of a mask is the
    sum of 1 - 2 sum x t / (sum x^2 + sum t^2 + 1e-5) over the two axes.

    Args:
        mask_probs: Probability of each pixel of an object, (B, h, w); B may be 0.
        box_masks: 1 in the box of the object and 0 outside, (B, h, w).

    Returns:
        A float32 scalar (float64 for float64 probabilities): the mean over the masks; 0 if there
        are none.

    Tian et al. (BoxInst), CVPR 2021.

    >>> box = torch.zeros(1, 4, 4)
    >>> box[:, 1:3, 1:3] = 1
    >>> diagonal = torch.eye(4) * box
    >>> box_projection_loss(diagonal, box) < 1e-5
    tensor(True)
    """
    check_shapes("(B, h, w) and (B, h, w)", mask_probs=mask_probs, box_masks=box_masks)
    mask_probs = at_least_float32(mask_probs)
    box_masks = box_masks.to(mask_probs.dtype)
    losses = torch.zeros_like(mask_probs[:, 0, 0])
    for axis in (1, 2):
        x, t = mask_probs.amax(axis), box_masks.amax(axis)
        size = x.square().sum(1) + t.square().sum(1) + 1e-5
        losses = losses + 1 - 2 * (x * t).sum(1) / size
    return losses.sum() / max(1, len(losses))
