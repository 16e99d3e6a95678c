"""Grid of overlapping patches of an image."""

from torch import Tensor

from wsss_zoo.functional.tensors import check_shapes


def image_patches(image: Tensor, size: int, stride: int) -> Tensor:
    """Cut square patches on a regular grid, starting at the top left corner.

    A rest of less than one stride at the right and the bottom is left out.

    Args:
        image: Images, (N, D, H, W).
        size: Side of a patch, 1 pixel or more, at most the sides of the image.
        stride: Distance of neighbouring patches, 1 pixel or more; below `size` they overlap.

    Returns:
        (N, rows, columns, D, size, size), a view of the image.

    >>> import torch
    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> image_patches(image, size=2, stride=1)[0, 2, 0]
    tensor([[[ 8.,  9.],
             [12., 13.]]])
    """
    check_shapes("(N, D, H, W)", image=image)
    if size < 1 or stride < 1:
        raise ValueError(f"size is {size} and stride {stride}; give at least 1 pixel each")
    if min(image.shape[-2:]) < size:
        height, width = image.shape[-2:]
        raise ValueError(
            f"an image of {height} x {width} pixels has no patch of {size}; give larger images or "
            "smaller patches"
        )
    return image.unfold(2, size, stride).unfold(3, size, stride).permute(0, 2, 3, 1, 4, 5)
