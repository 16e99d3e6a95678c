"""ToCo's contrast of patch tokens: alike where the class is the same, unlike where it is not."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_contrast_loss(features: Tensor, label: Tensor) -> Tensor:
    """Draw tokens of one class together, and those of different classes apart.

    Over the pairs of different cells of an image, both with a known class:
    ``(1 - S / (n + 1)) / 2 + D / (2 (m + 1))``. S is the sum of |cosine| over the n pairs of one
    class in the batch, D that over the m pairs of two classes.

    Args:
        features: Patch tokens as maps, (N, D, h, w).
        label: Class index per cell, (N, h, w) int64; 255 is unknown. See `confident_cam_label`.

    Returns:
        A float32 scalar (float64 for float64 features), in [0, 1]. 0.5, with a gradient of 0, if no
        pair is known.

    Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation", CVPR 2023
    (rulixiang/ToCo @ e13514d).

    >>> features = torch.tensor([[[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]])
    >>> token_contrast_loss(features, torch.tensor([[[1, 1, 0]]]))
    tensor(0.1667)
    """
    if features.ndim != 4 or label.shape != (features.shape[0], *features.shape[2:]):
        raise ValueError(
            f"features {tuple(features.shape)} and label {tuple(label.shape)} do not fit; give "
            "(N, D, h, w) and (N, h, w)"
        )
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        tokens = F.normalize(features.to(dtype).flatten(2), dim=1, eps=1e-8)
        cosine = (tokens.transpose(1, 2) @ tokens).abs()
    cells = label.flatten(1)
    known = cells != 255
    pairs = known[:, :, None] & known[:, None, :]
    pairs = pairs & ~torch.eye(cells.shape[1], dtype=torch.bool, device=cells.device)
    equal = cells[:, :, None] == cells[:, None, :]
    same, different = pairs & equal, pairs & ~equal
    zero = torch.zeros_like(cosine)
    alike = torch.where(same, cosine, zero).sum() / (same.sum() + 1)
    unlike = torch.where(different, cosine, zero).sum() / (different.sum() + 1)
    return (1 - alike + unlike) / 2
