"""Sparse labels simulated from masks, for benchmarks."""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss_zoo.data.reading.sparse_files import SparseLabel
from wsss_zoo.files.decoding import IGNORE_INDEX, UInt8Array
from wsss_zoo.functional.sparse.simulation import (
    simulate_blocks,
    simulate_boxes,
    simulate_points,
    simulate_scribbles,
)

SparseKind = Literal["scribbles", "points", "boxes", "blocks"]


@dataclass(frozen=True)
class Simulation:
    """What a simulated person draws.

    Args:
        kind: Strokes, discs, bounding boxes, or rectangles that show the mask.
        seed: Seed of all images.
        clip: Keep strokes inside their class.
        error: Share of points that are set beside their object.
        jitter: Standard deviation of the sides of boxes, as a share of their length.
        share: Share of the pixels that blocks show.
        background: Whether class 0 is background.
    """

    kind: SparseKind
    seed: int = 0
    clip: bool = True
    error: float = 0.0
    jitter: float = 0.0
    share: float = 0.2
    background: bool = True

    def label(self, mask: UInt8Array, image_id: str) -> SparseLabel:
        """Simulate the label of an image from its mask, (H, W) class index, 255 = ignored.

        It is a function of the mask, the seed and the id: the same in all epochs and processes.
        """
        seeds = [self.seed, zlib.crc32(image_id.encode())]
        first = 0 if self.background else 1
        # What is simulated has 0 as the background.
        shifted = np.where(mask == IGNORE_INDEX, mask, mask + np.uint8(first))
        drawn = np.full(mask.shape, IGNORE_INDEX, dtype=np.uint8)
        boxes, classes = np.empty((0, 4)), np.empty(0, dtype=np.int64)
        if self.kind == "scribbles":
            drawn = simulate_scribbles(shifted, seeds, clip=self.clip)
        elif self.kind == "points":
            drawn = simulate_points(shifted, seeds, error=self.error)
        elif self.kind == "blocks":
            drawn = simulate_blocks(shifted, seeds, self.share)
        else:
            boxes, classes = simulate_boxes(shifted, seeds, jitter=self.jitter)
        known = drawn != IGNORE_INDEX
        drawn[known] -= np.uint8(first)
        return SparseLabel(drawn, known, boxes, classes - first)
