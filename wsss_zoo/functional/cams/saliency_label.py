"""Label map of one image, made from its activation maps and a saliency map."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes

_EPS = 1e-8


def saliency_label(
    cam: Tensor,
    image_labels: Tensor,
    saliency: Tensor,
    fg_threshold: float = 0.3,
    conflict_threshold: float = 0.99,
    attention_threshold: float = 0.95,
    saliency_threshold: float = 32 / 255,
    min_foreground: float = 0.01,
) -> Tensor:
    """Label pixels by their strongest map; pixels without saliency become background.

    Each map of a tagged class is scaled to [0, 1]: minus its minimum, divided by its range + 1e-8.
    The background scores 1 - saliency. Scores below `fg_threshold`, also the background's, become 0
    and the highest score wins. Ties go to the lower index, all zeros to the background. Then 255 is
    set

    * where more than one score exceeds `conflict_threshold`,
    * on background that is salient, or where a map exceeds `attention_threshold`,
    * on the whole image, if its share of foreground pixels is below `min_foreground`.

    Args:
        cam: Maps of the foreground classes, (K, H, W), of any range.
        image_labels: Tags, (K,); above 0 means present.
        saliency: Saliency in [0, 1], (H, W) floats; value / 255 for 8-bit files.
        fg_threshold: Least score that counts.
        conflict_threshold: Score that at most one class may exceed.
        attention_threshold: Scaled map that counts as full saliency.
        saliency_threshold: Least saliency at which background is doubtful.
        min_foreground: Least share of the image's pixels with a foreground class.

    Returns:
        Class index per pixel, (H, W) int64: 0 = background, k + 1 = foreground class k, 255 =
        doubtful. Without tags everything is background, as in `cam_to_label`.

    Sun et al., "Mining Cross-Image Semantics for Weakly Supervised Semantic Segmentation", ECCV
    2020; ``gen_gt.py`` of GuoleiSun/MCIS_wsss @ 1fc8f75 with the constants that it uses. The
    authors' code has no image without tags, and its maps have 8 bits, so its 1e-8 is added to a
    range of 255.

    >>> cam = torch.tensor([[[0.0, 0.5, 1.0, 0.1]], [[9.0, 9.0, 9.0, 9.0]]])
    >>> saliency = torch.tensor([[0.0, 0.9, 0.9, 0.9]])
    >>> saliency_label(cam, torch.tensor([1, 0]), saliency)
    tensor([[  0,   1,   1, 255]])
    """
    wanted = "(K, H, W), (K,) and (H, W)"
    check_shapes(wanted, cam=cam, image_labels=image_labels, saliency=saliency)
    if not saliency.is_floating_point():
        raise ValueError(
            f"saliency is {saliency.dtype}; give values in [0, 1]: divide 8 bits by 255"
        )
    maps = cam[image_labels > 0]
    if len(maps) == 0:
        return torch.zeros(saliency.shape, dtype=torch.int64, device=cam.device)
    # Half precision is too coarse for thresholds such as 0.99.
    dtype = torch.promote_types(torch.promote_types(maps.dtype, saliency.dtype), torch.float32)
    maps, saliency = maps.to(dtype), saliency.to(dtype)
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    attention = (maps - lowest) / (highest - lowest + _EPS)
    scores = torch.cat([1 - saliency[None], attention])
    scores = torch.where(scores < fg_threshold, torch.zeros_like(scores), scores)
    classes = F.pad((image_labels > 0).nonzero().flatten() + 1, (1, 0))
    label = classes[scores.argmax(0)]
    attended = (attention > attention_threshold).any(0)
    in_doubt = (label == 0) & (attended | (saliency >= saliency_threshold))
    conflict = (scores > conflict_threshold).sum(0) > 1
    label = label.masked_fill(conflict | in_doubt, 255)
    foreground = ((label > 0) & (label != 255)).sum()
    return label.masked_fill(foreground < min_foreground * label.numel(), 255)
