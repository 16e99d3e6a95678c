"""Give whole segments of an image the class of most of their pixels."""

import torch
from torch import Tensor

from wsss_zoo.functional.regions.pooling import class_indices, vote_counts
from wsss_zoo.functional.tensors import check_equal_shapes

#: Id of the pixels that belong to no segment.
NO_SEGMENT = 0


def segment_vote(
    labels: Tensor, segments: Tensor, quorum: float = 0.5, ignore_index: int = 255
) -> Tensor:
    """Let the pixels of each segment vote for its class.

    The winner is the most frequent class of a segment, the lowest on a tie. If its share of all the
    segment's pixels, ignored ones included, is at least the quorum, all of them get it. Else they
    keep their labels. Pixels of id 0 belong to no segment and keep theirs too.

    Args:
        labels: Class index per pixel, (H, W), any integer type. The background votes like any
            class; ignored pixels do not.
        segments: Id of the segment of each pixel, (H, W), any integer type, on the device of the
            labels. Ids need not be contiguous, nor segments connected.
        quorum: Least share of a segment's pixels that the winner needs, in [0, 1].
        ignore_index: Label of the pixels without a vote.

    Returns:
        Class index per pixel, (H, W), of the labels' type.

    >>> labels = torch.tensor([[1, 1, 255, 0, 2, 0, 3]])
    >>> segment_vote(labels, torch.tensor([[7, 7, 7, 7, 9, 9, 0]]))
    tensor([[1, 1, 1, 1, 0, 0, 3]])
    """
    check_equal_shapes("resize the segments to the labels", labels=labels, segments=segments)
    if segments.is_floating_point() or segments.is_complex() or segments.dtype == torch.bool:
        raise ValueError(f"segments are {segments.dtype}; give integer ids")
    if not 0 <= quorum <= 1:
        raise ValueError(f"quorum is {quorum}; give a share in [0, 1]")
    classes = class_indices(labels)
    voting = classes[classes != ignore_index]
    if len(voting) == 0:
        return labels
    # Ids may be as large as their type: the table of votes has a row for those in use only.
    ids, regions, sizes = torch.unique(segments, return_inverse=True, return_counts=True)
    counts = vote_counts(classes, regions, int(voting.max()) + 1, ignore_index)
    most = counts.amax(1)
    numbers = torch.arange(counts.shape[1], device=counts.device)
    # argmax of torch may return any of several maxima.
    winners = torch.where(counts == most[:, None], numbers, counts.shape[1]).amin(1)
    # The quotient rounds like the literal 0.1; a product 0.1 * 30 may not.
    wins = (most > 0) & (most / sizes.double() >= quorum) & (ids != NO_SEGMENT)
    return torch.where(wins[regions], winners[regions].to(labels.dtype), labels)
