"""Run any segmenter on images of any size, in tiles and bounded memory."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from wsss_zoo.data.transforms.joint import to_float
from wsss_zoo.deploy.image_folder import image_of
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.files.images.pixels import AS_STORED, PixelOptions
from wsss_zoo.functional import sliding_windows
from wsss_zoo.functional.views.windows import Box, merge_windows
from wsss_zoo.methods.base import BaseMethod

#: Called after each tile of a large image: image id, tiles done, tiles in all.
TileReport = Callable[[str, int, int], None]


def tiles_of(height: int, width: int, tile: int, max_pixels: int) -> list[Box]:
    """Cut an image into tiles (y0, x0, y1, x1), in the order to run them.

    An image of at most ``max_pixels`` is one tile. Others get square tiles that overlap by a third
    or more, in bands along the image's short side. That minimises what `merge_windows` holds until
    the next band. All sizes are in pixels.

    >>> tiles_of(4, 9, tile=4, max_pixels=20)
    [(0, 0, 4, 4), (0, 2, 4, 6), (0, 4, 4, 8), (0, 5, 4, 9)]
    """
    if height * width <= max_pixels:
        return [(0, 0, height, width)]
    stride = max(1, tile * 2 // 3)
    end = max(height, width) - tile
    if end > 0:
        # Even steps along the long side: a last tile shifted far back would repeat a band.
        stride = -(-end // -(-end // stride))
    boxes = sliding_windows(height, width, tile, stride)
    return boxes if height >= width else sorted(boxes, key=lambda box: (box[1], box[0]))


class FolderLabeler(LightningModule):
    """Run a segmenter on images of a folder.

    An image of more than ``max_pixels`` is run in overlapping tiles under the method's evaluation
    options. Their probabilities are averaged; with default options that is the sliding window of
    `Evaluation`. Memory holds probabilities of one tile and of a band along the image's short side:
    about a third of a tile high, at most (C, tile, short side) float32.

    Args:
        method: The segmenter, with its ``evaluation``.
        tile: Side of a tile, pixels.
        max_pixels: Pixels of the largest image that is run whole.
        conf_thresh: Pixels whose class has a lower probability, in [0, 1], get 255; None for none.
        pixels: Values and bands of the images that are shown.
    """

    def __init__(
        self,
        method: BaseMethod,
        tile: int,
        max_pixels: int,
        conf_thresh: float | None = None,
        pixels: PixelOptions = AS_STORED,
    ) -> None:
        super().__init__()
        self.method = method
        self.tile, self.max_pixels, self.conf_thresh = tile, max_pixels, conf_thresh
        self.pixels = pixels
        #: Whether a prediction has "confidence", the probability times 255, (H, W) uint8.
        self.with_confidence = False
        #: Called after each tile of a large image.
        self.report: TileReport = lambda image_id, done, total: None

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """Give {"image" (H, W, 3) uint8, "preds" (H, W) uint8}, or {"problem"} if unreadable."""
        image = image_of(batch, self.pixels)
        if isinstance(image, str):
            return {"problem": image}
        found: dict[str, Any] = {"image": image}
        if self.with_confidence:
            found["confidence"] = np.empty(image.shape[:2], np.uint8)
        return found | {"preds": self.label(image, batch["image_id"], found.get("confidence"))}

    def label(
        self, image: UInt8Array, image_id: str, scores: UInt8Array | None = None
    ) -> UInt8Array:
        """Predict the class of each pixel, (H, W), 255 if unsure, of an image (H, W, 3).

        The probability of the class times 255 is put into ``scores``, (H, W), if given.
        """
        label = np.empty(image.shape[:2], dtype=np.uint8)
        for (y0, x0, y1, x1), probs in self.probabilities(image, image_id):
            confidence, preds = probs.max(0)
            if self.conf_thresh is not None:
                preds = preds.masked_fill(confidence < self.conf_thresh, IGNORE_INDEX)
            if scores is not None:
                scores[y0:y1, x0:x1] = (confidence * 255).round().to(torch.uint8).cpu().numpy()
            label[y0:y1, x0:x1] = preds.to(torch.uint8).cpu().numpy()
        return label

    def probabilities(self, image: UInt8Array, image_id: str) -> Iterator[tuple[Box, Tensor]]:
        """Predict probabilities (C, h, w) box by box (y0, x0, y1, x1) of an image (H, W, 3)."""
        height, width = image.shape[:2]
        tiles = tiles_of(height, width, self.tile, self.max_pixels)
        numbers = itertools.count(1)

        def probs_of(box: Box) -> Tensor:
            y0, x0, y1, x1 = box
            tile = torch.from_numpy(image[y0:y1, x0:x1]).to(self.device).permute(2, 0, 1)
            pixels = to_float(tile.contiguous()).to(self.dtype)
            probs = self.method.evaluation(self.method, pixels[None])[0]
            if len(tiles) > 1:
                self.report(image_id, next(numbers), len(tiles))
            return probs

        yield from merge_windows(tiles, probs_of)
