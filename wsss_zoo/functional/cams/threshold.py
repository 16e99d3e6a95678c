"""Background threshold of activation maps, chosen from the maps alone."""

import torch
from torch import Tensor


def score_separation(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Compute the share of the scores' variance between what exceeds a threshold and the rest.

    With n pixels, n_1 of them above the threshold, and the mean scores m_1 and m_0 of both sides,
    it is n_1 (n - n_1) (m_1 - m_0)^2 / n^2, divided by the variance of all scores. The threshold of
    the highest share is Otsu's.

    Args:
        scores: Score of each pixel, usually of its strongest tagged map, any shape.
        thresholds: Ascending thresholds on the scale of the scores, (T,).

    Returns:
        Shares in [0, 1], (T,) float64; 0 where all pixels are on one side, and for constant scores.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE SMC 1979, eq. (12). Otsu
    divides at the levels of a histogram; this implementation divides at any thresholds, and what
    equals a threshold is below it, as in `cam_to_label`.

    >>> scores = torch.tensor([0.0, 0.0, 1.0, 1.0])
    >>> score_separation(scores, torch.tensor([0.0, 0.5, 1.0])).tolist()
    [1.0, 1.0, 0.0]
    """
    if thresholds.ndim != 1 or (thresholds.diff() < 0).any():
        raise ValueError(
            f"thresholds are {tuple(thresholds.shape)} {thresholds.tolist()}; give them ascending, "
            "(T,)"
        )
    if scores.numel() == 0:
        raise ValueError(f"scores are {tuple(scores.shape)}; give at least one")
    values = scores.flatten().double()
    # A pixel is above a threshold if it exceeds more thresholds than come before that.
    exceeded = torch.bucketize(values, thresholds.double())
    centred = values - values.mean()
    length = len(thresholds) + 1
    counts = torch.bincount(exceeded, minlength=length).double()
    sums = torch.bincount(exceeded, centred, minlength=length)
    above, sum_above = (part.flip(0).cumsum(0).flip(0)[1:] for part in (counts, sums))
    variance, count = centred.square().mean(), values.numel()
    # The sums of both sides cancel: n_0 m_0 = -n_1 m_1 for centred scores.
    between = sum_above.square() / (above * (count - above)).clamp_min(1)
    inside = (above > 0) & (above < count) & (variance > 0)
    return torch.where(inside, between / variance, 0.0)
