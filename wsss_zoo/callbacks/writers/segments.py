"""Segments from a folder, whose pixels vote for the class of the whole segment."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_zoo.callbacks.map_files import (
    LOOKED_AT,
    SizeOf,
    check_maps,
    check_size,
    check_sizes,
    maps_origin,
)
from wsss_zoo.callbacks.metrics.label_estimate import sampled_ids
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.segment_maps import find_segment_map, lone_top_id, read_segment_map
from wsss_zoo.functional import segment_vote

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentVotes:
    """Region maps of images, by which labels are put right; see `segment_vote`.

    Args:
        directory: Folder of ``<image_id>.png`` or ``<image_id>.npz``; None leaves labels alone.
        quorum: Least share of a segment's pixels that the winner needs, in [0, 1].

    Raises:
        ValueError: If the quorum is out of range.
    """

    directory: str | None = None
    quorum: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= 1:
            raise ValueError(f"segments_quorum is {self.quorum}; give a share in [0, 1]")

    def check(self, image_ids: Sequence[str], size_of: SizeOf | None = None) -> None:
        """Check that there is a map of every image; see `check_maps`.

        Some maps are read: a warning says if an id in them may mean no segment. ``size_of`` gives
        height and width of an image, with which those of all PNG files are compared.
        """
        if self.directory is None:
            return
        folder = Path(self.directory)
        check_maps(
            folder,
            image_ids,
            option="segments_dir",
            kind="region map",
            content="that holds <image_id>.png or <image_id>.npz for every image",
            remedy="write them with 'wsss-zoo superpixels' or take the ids off the split's list",
            find=find_segment_map,
            suffix="",
        )
        found = {image_id: find_segment_map(folder, image_id) for image_id in image_ids}
        files = {image_id: path for image_id, path in found.items() if path is not None}
        sampled = [files[image_id] for image_id in sampled_ids(list(files), LOOKED_AT)]
        tops = {path: lone_top_id(read_segment_map(path)) for path in sampled}
        suspects = {path: top for path, top in tops.items() if top is not None}
        for path, top in list(suspects.items())[:1]:
            logger.warning(
                "%d of %d region maps that were looked at have pixels of id %d, but none of the id "
                "before, first: %s; if this marks pixels without a segment, write 0 there: else "
                "they vote as one segment",
                len(suspects),
                len(sampled),
                top,
                path,
            )
        pictures = ((i, path) for i, path in files.items() if path.suffix == ".png")
        check_sizes("region map", pictures, size_of)

    def apply(self, image_id: str, label: UInt8Array) -> UInt8Array:
        """Give each segment of an image the class of most of its pixels in the label, (H, W).

        Raises:
            OSError: If the map is missing or cannot be decoded; the message names it.
            ValueError: If it is no region map or has another size than the label.
        """
        if self.directory is None:
            return label
        path = find_segment_map(Path(self.directory), image_id)
        if path is None:
            raise FileNotFoundError(f"segments_dir {self.directory} has no map of {image_id}")
        segments = read_segment_map(path)
        check_size(path, "region map", image_id, segments.shape, label.shape)
        ids = torch.from_numpy(segments.astype(np.int64))
        return segment_vote(torch.from_numpy(label), ids, self.quorum).numpy()

    def settings(self) -> dict[str, Any]:
        """Return what decides the labels: the maps' folder and origin, and the quorum."""
        if self.directory is None:
            return {}
        origin = maps_origin(Path(self.directory))
        maps = {"segment_maps": origin} if origin else {}
        name = Path(self.directory).absolute().name
        return {"segments_dir": name, "segments_quorum": self.quorum} | maps
