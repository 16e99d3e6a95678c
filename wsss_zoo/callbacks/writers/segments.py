"""Segments from a folder, whose pixels vote for the class of the whole segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss_zoo.callbacks.map_files import check_maps, check_size
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.files.segment_maps import find_segment_map, read_segment_map
from wsss_zoo.functional import segment_vote


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

    def check(self, image_ids: Sequence[str]) -> None:
        """Check that there is a map of every image, and read the first; see `check_maps`."""
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
        for path in filter(None, (find_segment_map(folder, i) for i in image_ids[:1])):
            read_segment_map(path)

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
        """Return what decides the labels: the folder's name and the quorum, if in use."""
        if self.directory is None:
            return {}
        name = Path(self.directory).absolute().name
        return {"segments_dir": name, "segments_quorum": self.quorum}
