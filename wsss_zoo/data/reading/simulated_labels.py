"""Sparse labels simulated from masks, for benchmarks."""

import zlib
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


def simulate_label(
    mask: UInt8Array, kind: SparseKind, seed: int, image_id: str, share: float = 0.2
) -> SparseLabel:
    """Simulate the sparse label of an image from its mask.

    It is a function of the mask, the seed and the id: the same in all epochs and processes.

    Args:
        mask: Class index per pixel, (H, W), 255 = ignored.
        kind: What a person draws.
        seed: Seed of all images.
        image_id: The image.
        share: Share of the pixels that ``blocks`` show.
    """
    seeds = [seed, zlib.crc32(image_id.encode())]
    if kind == "boxes":
        nothing = np.full(mask.shape, IGNORE_INDEX, dtype=np.uint8)
        return SparseLabel(nothing, nothing != IGNORE_INDEX, *simulate_boxes(mask, seeds))
    if kind == "scribbles":
        drawn = simulate_scribbles(mask, seeds)
    elif kind == "points":
        drawn = simulate_points(mask, seeds)
    else:
        drawn = simulate_blocks(mask, seeds, share)
    no_box = np.empty((0, 4)), np.empty(0, dtype=np.int64)
    return SparseLabel(drawn, drawn != IGNORE_INDEX, *no_box)
