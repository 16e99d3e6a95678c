"""Running average of predictions, resampled between crops and a grid over the whole image."""

import torch
from torch import Tensor


def ensemble_update(
    z: Tensor, probs: Tensor, alpha: float, step: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Add a prediction to a running average and correct its bias towards the initial zeros.

    Args:
        z: Uncorrected average before this step, zeros at first; any shape.
        probs: Prediction of this step, of the same shape.
        alpha: Share of the old average, in [0, 1).
        step: Number of predictions in the result, this one included, so from 1: a number, or a
            tensor that broadcasts to `z`.

    Returns:
        alpha z + (1 - alpha) probs, and the same divided by 1 - alpha^step.

    Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, algorithm 2.

    >>> z, target = ensemble_update(torch.zeros(2), torch.tensor([0.25, 0.75]), 0.6, 1)
    >>> z, target
    (tensor([0.1000, 0.3000]), tensor([0.2500, 0.7500]))
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha is {alpha}; give the share of the old average, in [0, 1)")
    if isinstance(step, int) and step < 1:
        raise ValueError(f"step is {step}; the first prediction is step 1")
    z = alpha * z + (1 - alpha) * probs
    return z, z / (1 - alpha**step)


def crop_to_cells(
    probs: Tensor, valid: Tensor, geometry: Tensor, image_size: Tensor, cells: int
) -> tuple[Tensor, Tensor]:
    """Average a map over a crop's pixels in each cell of a grid over the whole image.

    Each pixel is weighted by the area that it shares with the cell, which is exact for any scale of
    the crop and any ratio of cells to pixels. The order of summation is fixed: the result is
    deterministic.

    Args:
        probs: Map over the crop, (M, C, H, W).
        valid: Pixels that count, (M, H, W) bool; False on padding.
        geometry: Place of the crop, (M, 5): top, left, vertical and horizontal scale (crop pixels
            per image pixel), mirrored (0 or 1).
        image_size: Height and width of the whole images, (M, 2), pixels.
        cells: Rows and columns of the grid, G.

    Returns:
        The average in each cell, (M, C, G, G), 0 where no pixel counts, and the share of each
        cell's area in [0, 1] that counting pixels cover, (M, G, G); float32.

    >>> crop = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> place, size = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]]), torch.tensor([[4, 4]])
    >>> mean, covered = crop_to_cells(crop, torch.ones(1, 2, 2, dtype=torch.bool), place, size, 2)
    >>> mean[0, 0].tolist(), covered[0].tolist()
    ([[4.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]])
    """
    # Autocast would round the products to half precision.
    with torch.autocast(probs.device.type, enabled=False):
        rows, columns = (
            _overlaps(geometry, image_size, axis, valid.shape[1 + axis], cells) for axis in (0, 1)
        )
        weight = valid.float()
        covered = rows @ weight @ columns.mT
        total = rows[:, None] @ (probs.float() * weight[:, None]) @ columns[:, None].mT
        mean = torch.where(covered[:, None] > 0, total / covered.clamp_min(1e-12)[:, None], 0)
        return mean, covered


def cells_to_crop(
    cells: Tensor, known: Tensor, geometry: Tensor, image_size: Tensor, crop_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Sample a grid over the whole image at the pixels of a crop.

    Interpolation is bilinear between the centres of the known cells. Unknown cells have weight 0
    and the other weights sum to 1, so probabilities stay probabilities.

    Args:
        cells: Values, (M, C, G, G).
        known: Cells that have a value, (M, G, G) bool.
        geometry: Place of the crop, (M, 5); see `crop_to_cells`.
        image_size: Height and width of the whole images, (M, 2), pixels.
        crop_size: Height and width of the crop (H, W), pixels.

    Returns:
        Values (M, C, H, W), float32, and whether a pixel has one, (M, H, W) bool: whether the cell
        that contains its centre is known. Other values are undefined; padding, outside the image,
        gets the nearest cells.

    >>> grid, place = torch.tensor([[[[0.0, 1.0]] * 2]]), torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])
    >>> known, size = torch.ones(1, 2, 2, dtype=torch.bool), torch.tensor([[4, 4]])
    >>> cells_to_crop(grid, known, place, size, (1, 4))[0].tolist()
    [[[[0.0, 0.25, 0.75, 1.0]]]]
    """
    with torch.autocast(cells.device.type, enabled=False):
        count = cells.shape[-1]
        y, x = (
            _cell_coordinates(geometry, image_size, axis, crop_size[axis], 0.5, count)
            for axis in (0, 1)
        )
        rows, columns = _bilinear(y, count), _bilinear(x, count)
        own_rows, own_columns = _one_hot_cell(y, count), _one_hot_cell(x, count)
        weight = known.float()
        value = rows[:, None] @ (cells.float() * weight[:, None]) @ columns[:, None].mT
        share = rows @ weight @ columns.mT
        own = own_rows @ weight @ own_columns.mT
        return value / share.clamp_min(1e-12)[:, None], own > 0.5


def _cell_coordinates(
    geometry: Tensor, image_size: Tensor, axis: int, length: int, offset: float, cells: int
) -> Tensor:
    """Locate the point `offset` into each crop pixel along an axis, in cells, (M, length)."""
    # 64-true batches and quotients of integers are in double precision.
    geometry = geometry.float()
    pixel = torch.arange(length, device=geometry.device, dtype=torch.float32) + offset
    pixel = pixel.expand(len(geometry), length)
    if axis == 1:
        pixel = torch.where(geometry[:, 4:] > 0.5, length - pixel, pixel)
    place = geometry[:, axis, None] + pixel / geometry[:, 2 + axis, None]
    return place * (cells / image_size[:, axis, None].float())


def _overlaps(geometry: Tensor, image_size: Tensor, axis: int, length: int, cells: int) -> Tensor:
    """Compute the share of each cell that each crop pixel covers on an axis, (M, cells, length)."""
    one, other = (
        _cell_coordinates(geometry, image_size, axis, length, offset, cells)[:, None]
        for offset in (0.0, 1.0)
    )
    first = torch.arange(cells, device=geometry.device, dtype=torch.float32)[:, None]
    end = torch.minimum(torch.maximum(one, other), first + 1)
    return (end - torch.maximum(torch.minimum(one, other), first)).clamp_min(0)


def _bilinear(centre: Tensor, cells: int) -> Tensor:
    """Compute each cell's weight at each point, (M, length, cells); constant past the centres."""
    index = torch.arange(cells, device=centre.device, dtype=torch.float32)
    position = (centre - 0.5).clamp(0, cells - 1)
    return (1 - (position[..., None] - index).abs()).clamp_min(0)


def _one_hot_cell(centre: Tensor, cells: int) -> Tensor:
    """Mark the cell that contains a point, or the nearest one, with 1, (M, length, cells)."""
    index = torch.arange(cells, device=centre.device, dtype=torch.float32)
    return (centre.floor().clamp(0, cells - 1)[..., None] == index).float()
