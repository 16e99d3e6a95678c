"""Pooling of pixel features and labels over regions, and the way back."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import check_equal_shapes, check_shapes


def num_regions(segments: Tensor) -> int:
    """Return the number of regions, V = highest id + 1.

    Unused ids below the highest count as regions without pixels.

    Args:
        segments: Region of each pixel, from 0, (H, W) with H, W >= 1, any integer type.

    >>> num_regions(torch.tensor([[0, 0, 2]]))
    3
    """
    if segments.ndim != 2 or segments.numel() == 0:
        raise ValueError(f"segments have shape {tuple(segments.shape)}; give (H, W) with H, W >= 1")
    if segments.is_floating_point() or segments.is_complex() or segments.dtype == torch.bool:
        raise ValueError(f"segments are {segments.dtype}; give integer ids, as of superpixels")
    lowest, highest = (int(bound) for bound in segments.long().aminmax())
    if lowest < 0:
        raise ValueError(f"segments hold the id {lowest}; number the regions from 0")
    return highest + 1


def pool_regions(features: Tensor, segments: Tensor) -> Tensor:
    """Average a feature map, resized to the segments, over each region.

    Equals `F.interpolate(mode="bilinear", align_corners=False)` to (H, W) and a mean over the
    pixels of each region. Both are linear: each mean is a weighted sum of few cells of the map, so
    the resized map of D * H * W numbers is never made.

    Args:
        features: Feature map, (D, h, w), not empty, smaller or larger than the segments, any float
            type.
        segments: Region of each pixel, (H, W), any integer type, on the device of the features.

    Returns:
        (V, D) float32, V = highest id + 1; 0 for ids without pixels. Sums are float32 for every
        input type, also under autocast.

    >>> features = torch.tensor([[[0.0, 1.0]]])
    >>> pool_regions(features, torch.tensor([[0, 0, 1, 1]])).flatten().tolist()
    [0.125, 0.875]
    """
    if features.ndim != 3 or features.numel() == 0 or not features.is_floating_point():
        raise ValueError(
            f"features have shape {tuple(features.shape)} and type {features.dtype}; give floats "
            "(D, h, w) of one image"
        )
    count = num_regions(segments)
    _, height, width = features.shape
    regions, cells, weights = _cell_weights(segments.long(), height, width)
    sizes = torch.bincount(segments.long().flatten(), minlength=count).clamp_min(1)
    # The cells of a region are consecutive: an embedding bag of weighted rows of the map.
    starts = torch.searchsorted(regions, torch.arange(count, device=regions.device))
    rows = features.flatten(1).T.float().contiguous()
    weights = (weights / sizes[regions]).float()
    return F.embedding_bag(cells, rows, starts, mode="sum", per_sample_weights=weights)


def _cell_weights(segments: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what each cell of a (height, width) map adds to the sum over each region.

    Returns region, cell and weight of each contribution, (M,), sorted by region. Adjacent pixels
    between the same four cells are summed first, so M is far below 4 * H * W.
    """
    y, part_y = _source(height, segments.shape[0], segments.device)
    x, part_x = _source(width, segments.shape[1], segments.device)
    row, start, length = _runs(segments, x)
    # Per run: the number of pixels, and the sum of their weights of the right cell.
    before = F.pad(part_x.cumsum(0), (1, 0))
    right = before[start + length] - before[start]
    left, lower = length - right, part_y[row]
    weights = torch.stack([(1 - lower) * left, (1 - lower) * right, lower * left, lower * right], 1)
    keys, which = torch.unique(
        (segments[row, start] * height + y[row]) * width + x[start], return_inverse=True
    )
    summed = weights.new_zeros(len(keys), 4).index_add_(0, which, weights)
    region = keys // (height * width)
    top, left_cell = keys // width % height, keys % width
    bottom, right_cell = (top + 1).clamp_max(height - 1), (left_cell + 1).clamp_max(width - 1)
    cells = torch.stack(
        [r * width + c for r in (top, bottom) for c in (left_cell, right_cell)], dim=1
    )
    some = summed > 0
    return region[:, None].expand(-1, 4)[some], cells[some], summed[some]


def _source(size: int, pixels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Find the first of the two cells around each pixel of one axis, and the second one's weight.

    Uses the float32 and the order of operations of `F.interpolate`. The weights are float64 where
    the device has it, for the sums over them.
    """
    scale = torch.tensor(size, dtype=torch.float32) / pixels
    position = torch.arange(pixels, dtype=torch.float32, device=device) + 0.5
    position = (position * scale.item() - 0.5).clamp_min(0)
    cell = position.long().clamp_max(size - 1)
    part = (position - cell).clamp_max(1)
    return cell, part if device.type == "mps" else part.double()


def _runs(segments: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find row, first column and length of the runs of pixels of one region and one cell."""
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = (segments[:, 1:] != segments[:, :-1]) | (x[1:] != x[:-1])
    first = starts.flatten().nonzero().flatten()
    length = torch.diff(first, append=first.new_tensor([segments.numel()]))
    width = segments.shape[1]
    return first // width, first % width, length


def vote(
    labels: Tensor,
    segments: Tensor,
    num_classes: int,
    quorum: float = 0.5,
    ignore_index: int = 255,
) -> Tensor:
    """Label each region by the `majority` of its pixels' `vote_counts`, (V,) int64.

    The arguments are those of the two functions.

    >>> labels = torch.tensor([[2, 2, 1, 255, 1, 255, 255]])
    >>> vote(labels, torch.tensor([[0, 0, 0, 0, 1, 1, 1]]), num_classes=3)
    tensor([  2, 255])
    """
    counts = vote_counts(labels, segments, num_classes, ignore_index)
    sizes = torch.bincount(segments.long().flatten(), minlength=len(counts))
    return majority(counts, sizes, quorum, ignore_index)


def vote_counts(
    labels: Tensor, segments: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count the pixels of each class in each region, (V, C) int64 with V = highest id + 1.

    Args:
        labels: Class index per pixel, (H, W), any integer type.
        segments: Region of each pixel, (H, W), any integer type.
        num_classes: C, with background.
        ignore_index: Label of the pixels that are not counted.

    Raises:
        ValueError: If a label is neither in [0, C) nor `ignore_index`.

    >>> vote_counts(torch.tensor([[2, 2, 255]]), torch.tensor([[0, 0, 1]]), num_classes=3)
    tensor([[0, 0, 2],
            [0, 0, 0]])
    """
    remedy = "make the superpixels of the image at the size of its labels"
    check_equal_shapes(remedy, labels=labels, segments=segments)
    labels = class_indices(labels).flatten()
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; count the background too")
    count = num_regions(segments)
    segments = segments.long().flatten()
    ignored = labels == ignore_index
    outside = ((labels < 0) | (labels >= num_classes)) & ~ignored
    if outside.any():
        raise ValueError(
            f"labels hold {int(labels[outside][0])}, outside [0, {num_classes}); give the right "
            f"num_classes, or mark pixels to ignore with {ignore_index}"
        )
    # The extra bin collects the ignored pixels, so none has to be selected.
    cell = torch.where(ignored, count * num_classes, segments * num_classes + labels)
    counts = torch.bincount(cell, minlength=count * num_classes + 1)
    return counts[:-1].view(count, num_classes)


def class_indices(labels: Tensor) -> Tensor:
    """Convert integer labels to int64; refuse others."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels are {labels.dtype}; give class indices")
    return labels.long()


def majority(counts: Tensor, sizes: Tensor, quorum: float = 0.5, ignore_index: int = 255) -> Tensor:
    """Find the most frequent class of each region.

    Args:
        counts: Pixels of each class, (V, C), of integers.
        sizes: All pixels of each region, counted or not, (V,).
        quorum: Least share in [0, 1] of counted pixels in a region.
        ignore_index: Label of regions with fewer counted pixels, or none.

    Returns:
        (V,) int64; the lowest class on a tie.

    >>> majority(torch.tensor([[1, 3], [2, 2], [0, 1]]), torch.tensor([5, 4, 3]))
    tensor([  1,   0, 255])
    """
    check_shapes("(V, C) and (V,)", counts=counts, sizes=sizes)
    if not 0 <= quorum <= 1:
        raise ValueError(f"quorum is {quorum}; give a share in [0, 1]")
    counted = counts.sum(1)
    # The quotient rounds like the literal 0.1; a product 0.1 * 30 may not.
    enough = (counted > 0) & (counted / sizes.clamp_min(1).double() >= quorum)
    # argmax of torch may return any of several maxima.
    best = counts == counts.amax(1, keepdim=True)
    classes = torch.arange(counts.shape[1], device=counts.device)
    lowest = torch.where(best, classes, counts.shape[1]).amin(1)
    return torch.where(enough, lowest, ignore_index)


def paint(node_labels: Tensor, segments: Tensor) -> Tensor:
    """Assign the label of its region to every pixel, (H, W) of the labels' type.

    Args:
        node_labels: Label of each region, at least one per region, (V,), any type.
        segments: Region of each pixel, (H, W), any integer type.

    >>> paint(torch.tensor([7, 255]), torch.tensor([[0, 1], [0, 0]]))
    tensor([[  7, 255],
            [  7,   7]])
    """
    count = num_regions(segments)
    if node_labels.ndim != 1 or len(node_labels) < count:
        raise ValueError(
            f"node_labels have shape {tuple(node_labels.shape)}, but the segments hold {count} "
            "regions; give one label for each, (V,)"
        )
    return node_labels[segments.long()]
