"""Signs of how good a label map is, from its image and its tags, without a mask."""

import torch
from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def color_separation(image: Tensor, label: Tensor, ignore_index: int = 255) -> float:
    """Compute the share of an image's colour variance that lies between the classes of its label.

    It is the sum over classes of n_c |mean_c - mean|^2, divided by the sum over labelled pixels of
    |colour - mean|^2: Otsu's criterion, for colours and several classes. A label that follows the
    objects explains more of the colours than one that cuts through them.

    Args:
        image: Colours on any scale, (3, H, W).
        label: Class index per pixel, (H, W) integers in [0, 255].
        ignore_index: Value of the pixels that are left out.

    Returns:
        Share in [0, 1]; 0 where there is a single class or a single colour, nan without a labelled
        pixel.

    Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE SMC 1979, eq. (12).

    >>> image = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).expand(3, 1, 4)
    >>> [color_separation(image, torch.tensor([row])) for row in ([0, 0, 1, 1], [0, 1, 0, 1])]
    [1.0, 0.0]
    """
    check_shapes("(3, H, W) and (H, W)", image=image, label=label)
    if label.is_floating_point():
        raise ValueError(f"label is {label.dtype}; give class indices")
    known = label != ignore_index
    colors, classes = image[:, known].double(), label[known].long()
    if classes.numel() == 0:
        return float("nan")
    centred = colors - colors.mean(1, keepdim=True)
    total = centred.square().sum()
    counts = torch.bincount(classes).double()
    sums = torch.stack([torch.bincount(classes, channel) for channel in centred])
    between = (sums.square() / counts.clamp_min(1)).sum()
    return float(between / total) if total > 0 else 0.0


def tag_violations(
    label: Tensor, image_labels: Tensor, first_fg: int = 1, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Find the classes in which a label map and the tags of its image disagree.

    Args:
        label: Class index per pixel, (H, W) integers.
        image_labels: Tags, (K,); above 0 means present.
        first_fg: Index of the first foreground class, 0 or 1.
        ignore_index: Value of the pixels that are left out.

    Returns:
        Pixels of each class that is not tagged, (K,) int64, 0 for the tagged ones; and which tagged
        classes have no pixel, (K,) bool.

    >>> label = torch.tensor([[0, 1, 1, 255]])
    >>> untagged, missing = tag_violations(label, torch.tensor([0, 1]))
    >>> untagged.tolist(), missing.tolist()
    ([2, 0], [False, True])
    """
    check_shapes("(H, W) and (K,)", label=label, image_labels=image_labels)
    if label.is_floating_point():
        raise ValueError(f"label is {label.dtype}; give class indices")
    last = first_fg + len(image_labels)
    known = label[label != ignore_index].flatten().long()
    if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < last:
        raise ValueError(
            f"label has a class index outside [0, {last}), but {len(image_labels)} tags from index "
            f"{first_fg} on; give the tags of all foreground classes"
        )
    pixels = torch.bincount(known, minlength=last)[first_fg:]
    tagged = image_labels > 0
    return pixels.masked_fill(tagged, 0), tagged & (pixels == 0)
