"""CutMix: pasting a region of one image, and of its labels, into another image."""

import torch
from torch import Tensor


def cutmix(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Take `b` where the mask is true and `a` elsewhere.

    Args:
        a: Images (N, 3, H, W), or labels, confidences or validity (N, H, W).
        b: The same of the images to paste from, of one shape and dtype with `a`.
        mask: Region to paste, (N, H, W) bool, one for each image.

    Yun et al., "CutMix", ICCV 2019. Mix images, labels, confidences and validity by the same mask.

    >>> cutmix(torch.tensor([[[1, 2]]]), torch.tensor([[[3, 4]]]), torch.tensor([[[False, True]]]))
    tensor([[[1, 4]]])
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(
            f"a {tuple(a.shape)} {a.dtype} and b {tuple(b.shape)} {b.dtype} differ; "
            "give two tensors of the same shape and type"
        )
    if mask.shape != (a.shape[0], *a.shape[-2:]):
        raise ValueError(f"mask {tuple(mask.shape)} does not fit {tuple(a.shape)}; give (N, H, W)")
    return torch.where(mask if a.ndim == 3 else mask[:, None], b, a)


def draw_cutmix_boxes(
    count: int,
    size: tuple[int, int],
    prob: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: float = 0.3,
    device: torch.device | None = None,
) -> Tensor:
    """Draw masks (N, H, W) bool of one box each, or of none, as UniMatch does.

    UniMatch draws the area once, then the ratio height / width and the place together until the box
    fits. This rejection sampling favours boxes with more room. This implementation draws the ratio
    directly from the resulting distribution (on a grid of 256 ratios), without retries or
    synchronisation with the device.

    Args:
        count: Number of masks N.
        size: Height and width (H, W) in pixels.
        prob: Probability in [0, 1] that a mask has a box.
        area: Smallest and largest share of the image in a box, in [0, 1].
        ratio: Smallest height / width, in (0, 1]; the largest is its inverse.
        device: Where to draw; None for torch's default.

    Yang et al., CVPR 2023 (LiheYoung/UniMatch @ 0324f3d): mean area 0.206 of the image given a box.
    """
    if not 0 < ratio <= 1 or not 0 <= prob <= 1 or not 0 <= area[0] <= area[1] <= 1:
        raise ValueError(
            f"prob {prob}, area {area}, ratio {ratio}: give prob and area in [0, 1], the smaller "
            "area first, and ratio in (0, 1]"
        )
    height, width = size
    pixels = height * width * (area[0] + (area[1] - area[0]) * torch.rand(count, 1, device=device))
    ratios = torch.linspace(ratio, 1 / ratio, 256, device=device)
    heights, widths = (pixels * ratios).sqrt(), (pixels / ratios).sqrt()
    room = (height - heights).clamp_min(0) * (width - widths).clamp_min(0)
    # The maximum of weight / exponential noise falls on each place in proportion to its weight.
    chosen = (room / torch.empty_like(room).exponential_()).argmax(1, keepdim=True)
    box_height, box_width = heights.gather(1, chosen), widths.gather(1, chosen)
    top = (height - box_height).clamp_min(0) * torch.rand(count, 1, device=device)
    left = (width - box_width).clamp_min(0) * torch.rand(count, 1, device=device)
    box = _boxes(top, left, box_height, box_width, size)
    return box & (torch.rand(count, 1, 1, device=device) < prob)


def draw_cutmix_masks(
    count: int,
    size: tuple[int, int],
    boxes: int = 3,
    area: tuple[float, float] = (0.25, 0.5),
    device: torch.device | None = None,
) -> Tensor:
    """Draw masks (N, H, W) bool of several boxes each, overlaps cancelling, as in CPS.

    Args:
        count: Number of masks N.
        size: Height and width (H, W) in pixels.
        boxes: Boxes in a mask, at least 1; each toggles its pixels.
        area: Smallest and largest share of the image, in (0, 1], in all boxes of a mask, without
            overlap.
        device: Where to draw; None for torch's default.

    French et al., "Semi-supervised semantic segmentation needs strong, varied perturbations", BMVC
    2020, in the form of charlesCXK/TorchSemiSeg @ 5e0c29c: expected area 0.251 of the image.
    """
    if boxes < 1 or not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"boxes {boxes}, area {area}: give at least one box, and shares in (0, 1]")
    height, width = size
    share = area[0] + (area[1] - area[0]) * torch.rand(count, boxes, device=device)
    vertical = (torch.rand(count, boxes, device=device) * share.log()).exp()
    shrink = boxes**-0.5
    box_height = (height * vertical * shrink).round()
    box_width = (width * share / vertical * shrink).round()
    top = ((height - box_height) * torch.rand(count, boxes, device=device)).round()
    left = ((width - box_width) * torch.rand(count, boxes, device=device)).round()
    top, left, box_height, box_width = (
        edge.reshape(-1, 1) for edge in (top, left, box_height, box_width)
    )
    covered = _boxes(top, left, box_height, box_width, size)
    toggles = covered.reshape(count, boxes, height, width).sum(1)
    return toggles % 2 == 1


def _boxes(
    top: Tensor, left: Tensor, box_height: Tensor, box_width: Tensor, size: tuple[int, int]
) -> Tensor:
    """Fill boxes with edges (N, 1) each; a pixel belongs to a box by its centre, (N, H, W) bool."""
    y = torch.arange(size[0], device=top.device) + 0.5
    x = torch.arange(size[1], device=top.device) + 0.5
    rows = (y >= top) & (y < top + box_height)
    columns = (x >= left) & (x < left + box_width)
    return rows[:, :, None] & columns[:, None, :]
