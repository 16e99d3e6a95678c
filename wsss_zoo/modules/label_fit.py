"""A segmenter whose class layer is refit to the labels of each image that it predicts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wsss_zoo.functional import refit_classes
from wsss_zoo.modules.segmenter import Segmenter


class LabelFit:
    """Map views of N images to logits that fit the images' own labels, by `refit_classes`.

    Each view is fit by itself, among the classes that are labelled in the image. Where the
    background is possible and not labelled, the logits stay as they are: labels of objects alone do
    not say where these end.

    Args:
        network: The segmenter.
        possible: Classes that each pixel may have, (N, C, H, W) bool. A pixel that may have one
            class only is labelled with it; ``likely`` of a batch has such pixels in boxes too.
        background: Whether class 0 is the background.
    """

    def __init__(self, network: Segmenter, possible: Tensor, background: bool = True) -> None:
        self.network, self.possible, self.background = network, possible, background

    def __call__(self, view: Tensor) -> Tensor:
        """Compute logits (M, C, h, w) of a view (M, 3, h, w): the N images at any scale.

        M is N, or 2 N: the images, then the same mirrored.
        """
        network, possible = self.network, self.possible
        if len(view) == 2 * len(possible):
            possible = torch.cat([possible, possible.flip(-1)])
        size = (view.shape[-2], view.shape[-1])
        features = network.decoder(network.features(view))
        logits = network.head(features).float()
        stride = network.backbone.strides[-1]
        covered = [(side + stride - 1) // stride * stride for side in size]
        for i, allowed in enumerate(possible):
            counts = count_labels(allowed, size, covered, logits.shape[-2:])
            own = counts.flatten(1).any(1)
            if self.background and not own[0] and allowed[0].any():
                continue
            logits[i, own] = refit_classes(features[i], logits[i, own], counts[own])
        return network.upsample(logits, size)


def count_labels(
    possible: Tensor, size: Sequence[int], covered: Sequence[int], grid: Sequence[int]
) -> Tensor:
    """Count the labelled pixels of each class in each cell of a feature map, (C, h, w) int64.

    Args:
        possible: Classes that each pixel of an image may have, (C, H, W) bool.
        size: Height and width of the view, the image at a scale.
        covered: Height and width that the feature map covers: the view, padded below and on the
            right.
        grid: Height h and width w of the feature map.
    """
    label, y, x = (possible & (possible.sum(0) == 1)).nonzero(as_tuple=True)
    sides = zip((y, x), possible.shape[1:], size, covered, grid, strict=True)
    row, column = (
        ((place + 0.5) * (seen / own * cells / whole)).long()
        for place, own, seen, whole, cells in sides
    )
    cell = (label * grid[0] + row) * grid[1] + column
    counts = torch.bincount(cell, minlength=len(possible) * grid[0] * grid[1])
    return counts.view(len(possible), *grid)
