"""Co-attention between two images: shared and own features, and maps merged over views."""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32, check_shapes

_EPS = 1e-8


def co_attention(feat_m: Tensor, feat_n: Tensor, w_p: Tensor) -> tuple[Tensor, Tensor]:
    """Rebuild each image's feature map from the other's by affinity of positions.

    With the positions flattened, P = F_m^T W_P F_n (HW_m x HW_n). ``co_m`` lies on the grid of m:
    each position is the mean of n's features, weighted by the softmax of its row of P. ``co_n``
    lies on the grid of n and uses the columns of P. P is not scaled, neither by 1/sqrt(C) nor by a
    temperature.

    Affinity, softmax and sums are float32, also under autocast. Fused attention kernels never hold
    P. Without such a kernel, a training step holds four matrices of N HW_m HW_n floats at its peak:
    4 x 67 MB per pair of 512 x 512 images at stride 8, 4 x 4 MB at stride 16.

    Args:
        feat_m: Feature maps of the first images, (N, C, hm, wm).
        feat_n: Feature maps of the second images, (N, C, hn, wn); their size may differ.
        w_p: Affinity matrix W_P in the paper's orientation, (C, C), or one per pair, (N, C, C).

    Returns:
        ``co_m`` (N, C, hm, wm) and ``co_n`` (N, C, hn, wn), float32 (float64 for float64 features).

    Sun et al., "Mining Cross-Image Semantics for Weakly Supervised Semantic Segmentation" (MCIS),
    ECCV 2020, eq. (2) to (4). The linear layer of the authors' code holds W_P transposed.

    >>> feat_m, feat_n = torch.ones(1, 2, 1, 1), torch.tensor([[[[4.0, 6.0]], [[1.0, 1.0]]]])
    >>> co_m, co_n = co_attention(feat_m, feat_n, torch.zeros(2, 2))
    >>> co_m.flatten(), co_n.flatten()
    (tensor([5., 1.]), tensor([1., 1., 1., 1.]))
    """
    return co_attend(feat_m, feat_n, w_p), co_attend(feat_n, feat_m, w_p.mT)


def co_attend(feat: Tensor, other: Tensor, w_p: Tensor, values: Tensor | None = None) -> Tensor:
    """Gather features, or other maps, of the other image: one half of `co_attention`.

    Class maps are linear in the features. Gathering class maps therefore equals mapping the
    gathered features, at the cost of K instead of C channels.

    Args:
        feat: Feature maps of the images that gather, (N, C, h, w).
        other: Feature maps of the others, (N, C, ho, wo).
        w_p: Affinity matrix with the gathering image's side first, (C, C) or (N, C, C).
        values: Maps to gather, (N, V, ho, wo); None for ``other`` itself.

    Returns:
        (N, V, h, w), float32 (float64 for float64 features).

    >>> other, values = torch.zeros(1, 3, 1, 2), torch.tensor([[[[4.0, 6.0]]]])
    >>> co_attend(torch.ones(1, 3, 1, 1), other, torch.eye(3), values)
    tensor([[[[5.]]]])
    """
    rows, columns, w_p = _positions(feat, other, w_p)
    values = other if values is None else values
    check_shapes("(N, V, ho, wo) and (N, C, ho, wo)", values=values, other=other)
    # Fused kernels take four dimensions, the last one contiguous.
    columns = columns.contiguous()[:, None]
    gathered = columns
    if values is not other:
        gathered = values.flatten(2).mT.to(w_p).contiguous()[:, None]
    with torch.autocast(feat.device.type, enabled=False):
        rows = (rows @ w_p).contiguous()[:, None]
        result = F.scaled_dot_product_attention(rows, columns, gathered, scale=1.0)[:, 0]
    return result.mT.reshape(len(feat), values.shape[1], *feat.shape[-2:])


def co_attention_affinity(feat_m: Tensor, feat_n: Tensor, w_p: Tensor) -> Tensor:
    """Compute the affinity P of `co_attention`, for plots and checks.

    Takes the arguments of `co_attention` and returns F_m^T W_P F_n, (N, hm * wm, hn * wn), float32
    (float64 for float64 features).

    >>> feat = torch.tensor([[[[1.0, 2.0]]]])
    >>> co_attention_affinity(feat, feat, torch.tensor([[3.0]]))
    tensor([[[ 3.,  6.],
             [ 6., 12.]]])
    """
    rows, columns, w_p = _positions(feat_m, feat_n, w_p)
    with torch.autocast(feat_m.device.type, enabled=False):
        return rows @ w_p @ columns.mT


def contrastive_features(feat: Tensor, co_feat: Tensor, w_b: Tensor) -> Tensor:
    """Keep an image's own features where its co-attention features show nothing shared.

    Args:
        feat: Feature maps of the images, (N, C, h, w).
        co_feat: Their co-attention features, (N, C, h, w).
        w_b: Weight W_B of the class-agnostic map of shared content, (1, C).

    Returns:
        feat (1 - sigmoid(W_B co_feat)), (N, C, h, w), float32 (float64 for float64 features); the
        factor is one number per position.

    MCIS, ECCV 2020, eq. (6) and (7).

    >>> contrastive_features(torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1), torch.ones(1, 2))
    tensor([[[[0.5000]],
    <BLANKLINE>
             [[0.5000]]]])
    """
    wanted = "(N, C, h, w), (N, C, h, w) and (1, C)"
    check_shapes(wanted, feat=feat, co_feat=co_feat, w_b=w_b)
    feat, co_feat, w_b = _floats(feat, co_feat, w_b)
    with torch.autocast(feat.device.type, enabled=False):
        shared = torch.einsum("oc,nchw->nohw", w_b, co_feat).sigmoid()
    return feat * (1 - shared)


def merge_co_attention_views(
    views: Sequence[Tensor], size: tuple[int, int], min_score: float = 0.1
) -> Tensor:
    """Average an image's raw maps over views, leaving out views that deny the class.

    The first view always counts. Another view counts for a class only if the sigmoid of its mean
    score exceeds ``min_score``. Each counted map is rectified and divided by (its maximum + 1e-8).
    The sum is divided by the number of *all* views, so a class that most views deny stays weak.

    Args:
        views: Raw class scores by position, each (K, h, w), mirrored views mirrored back; at least
            one. Views of other sizes are resized to the size of the first one (bicubic).
        size: Height and width of the image, pixels.
        min_score: Least probability of the class in a view.

    Returns:
        Maps in [0, 1], (K, H, W), float32 (float64 for float64 views).

    GuoleiSun/MCIS_wsss @ 1fc8f75, ``test.py``: five views, in the order [image beside its mirror;
    that mirror; image at 0.75; at 2; mean over the references]. Difference: the maps are not
    truncated to 8 bits before the bicubic resize to the image size; its overshoot is clamped.

    >>> deny = torch.full((1, 1, 2), -9.0)
    >>> merge_co_attention_views([torch.tensor([[[1.0, 2.0]]]), deny], (1, 2))
    tensor([[[0.2500, 0.5000]]])
    """
    if not views:
        raise ValueError("views is empty; give at least the map of the image itself")
    grid = views[0].shape[-2:]
    total = torch.zeros((), device=views[0].device)
    for place, view in enumerate(views):
        raw = _resized(at_least_float32(view), grid)
        counts = raw.mean((1, 2), keepdim=True).sigmoid() > min_score
        rectified = raw.relu()
        rectified = rectified / (rectified.amax((1, 2), keepdim=True) + _EPS)
        total = total + (rectified if place == 0 else rectified * counts)
    return _resized(total / len(views), size).clamp(0, 1)


def _positions(feat_m: Tensor, feat_n: Tensor, w_p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flatten features to (N, HW, C), and convert them and W_P to one type, at least float32."""
    fits = feat_m.ndim == feat_n.ndim == 4 and feat_m.shape[:2] == feat_n.shape[:2]
    channels = feat_m.shape[1] if fits else 0
    if not fits or w_p.shape[-2:] != (channels, channels) or w_p.ndim not in (2, 3):
        raise ValueError(
            f"feat_m {tuple(feat_m.shape)}, feat_n {tuple(feat_n.shape)} and w_p "
            f"{tuple(w_p.shape)} do not fit; give (N, C, hm, wm), (N, C, hn, wn) and (C, C) or "
            "(N, C, C)"
        )
    feat_m, feat_n, w_p = _floats(feat_m, feat_n, w_p)
    return feat_m.flatten(2).mT, feat_n.flatten(2).mT, w_p


def _floats(*tensors: Tensor) -> list[Tensor]:
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    if maps.shape[-2:] == tuple(size):
        return maps
    return F.interpolate(maps[None], size=tuple(size), mode="bicubic", align_corners=False)[0]
