"""What the network has said about each image so far, on a grid over the whole image."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import cells_to_crop, ensemble_update
from wsss_zoo.modules.ensemble_files import read_version, write_version

_MAX_COUNT = torch.iinfo(torch.int16).max


class ProbabilityEnsemble:
    """Running average of class probabilities per image and cell, with a step count of its own.

    The images are divided into G x G cells each. A prediction for a crop is added to the cells that
    it covers; the bias of an average is corrected by the number of predictions that its cell has
    seen, so that a cell is unknown before its first and exact after it. Averages are float16 and
    counts int16: G^2 (2 C + 2) bytes an image, on the device of the network, or in a nameless file
    that is mapped into memory.

    Args:
        num_classes: Number of classes C.
        cells: Rows and columns of the grid, G.
        alpha: Share of the old average, in [0, 1).
        min_cover: Share of a cell's area in (0, 1] that a crop must cover to count for it.

    Raises:
        ValueError: If `cells` is below 1, or `alpha` or `min_cover` outside its range.
    """

    def __init__(self, num_classes: int, cells: int, alpha: float, min_cover: float = 0.5) -> None:
        if cells < 1:
            raise ValueError(f"cells is {cells}; give the number of rows of the grid, at least 1")
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha is {alpha}; give the share of the old average, in [0, 1)")
        if not 0 < min_cover <= 1:
            raise ValueError(f"min_cover is {min_cover}; give a share of a cell in (0, 1]")
        self.num_classes, self.cells = num_classes, cells
        self.alpha, self.min_cover = alpha, min_cover
        self._rows: dict[str, int] = {}
        self._folder: Path | None = None
        self._bytes = torch.zeros(0, self.bytes_per_image, dtype=torch.uint8)

    @property
    def bytes_per_image(self) -> int:
        """Memory, or disk, that an image takes: G^2 (2 C + 2)."""
        return self.cells**2 * (2 * self.num_classes + 2)

    @property
    def image_ids(self) -> list[str]:
        """The images in the order of their rows."""
        return list(self._rows)

    @property
    def z(self) -> Tensor:
        """Uncorrected averages, (rows, C, G, G) float16; a view of the memory."""
        values = self._bytes[:, : self.cells**2 * 2 * self.num_classes].view(torch.float16)
        return values.view(-1, self.num_classes, self.cells, self.cells)

    @property
    def count(self) -> Tensor:
        """Predictions that each cell has seen, (rows, G, G) int16; a view of the memory."""
        values = self._bytes[:, self.cells**2 * 2 * self.num_classes :].view(torch.int16)
        return values.view(-1, self.cells, self.cells)

    def keep_on_disk(self, folder: Path) -> None:
        """Move to a file in a folder; the system caches its pages and deletes it with the process.

        Args:
            folder: Where the disk has room; it is made if it does not exist.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, held = folder, self._bytes
        self._bytes = self._allocate(len(held), held.device)
        self._bytes.copy_(held)

    def add(self, image_ids: Iterable[str], device: torch.device) -> None:
        """Make room for images that are not known yet; what is held goes to the device.

        Memory for exactly these images, or for half as many again as there are if they are few, so
        that images which come one by one are not copied each time.
        """
        for image_id in image_ids:
            self._rows.setdefault(image_id, len(self._rows))
        held = self._bytes
        if len(self._rows) > len(held):
            self._bytes = self._allocate(max(len(self._rows), len(held) * 3 // 2), device)
            self._bytes[: len(held)] = held.to(self._bytes.device)
        elif self._folder is None:
            self._bytes = held.to(device)

    def rows(self, image_ids: Sequence[str], device: torch.device) -> Tensor:
        """Row of each image, (M,) int64.

        Raises:
            KeyError: If an image was never added.
        """
        unknown = [image_id for image_id in image_ids if image_id not in self._rows]
        if unknown:
            raise KeyError(
                f"image {unknown[0]!r} is not among the {len(self._rows)} of the ensemble; add it "
                "first"
            )
        rows = torch.tensor([self._rows[image_id] for image_id in image_ids], device="cpu")
        # Without waiting for what the device has still to do.
        return rows.to(device, non_blocking=True)

    def targets(
        self, rows: Tensor, geometry: Tensor, image_size: Tensor, crop_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Averages, corrected, at the pixels of crops.

        Args:
            rows: Row of each crop's image, (M,).
            geometry: Place of the crops, (M, 5); see `cells_to_crop`.
            image_size: Height and width of the images, (M, 2), pixels.
            crop_size: Height and width of the crops (H, W), pixels.

        Returns:
            Probabilities (M, C, H, W) and whether a pixel's cell has been seen (M, H, W) bool.
        """
        z, count = self._read(rows)
        corrected = z / (1 - self.alpha ** count.clamp_min(1))[:, None]
        return cells_to_crop(corrected, count > 0, geometry, image_size, crop_size)

    def update(self, rows: Tensor, mean: Tensor, covered: Tensor) -> None:
        """Add a prediction to each image that is covered enough.

        An image that comes several times gets one prediction: the average, by covered area.

        Args:
            rows: Row of each prediction's image, (M,).
            mean: Probabilities, (M, C, G, G); see `crop_to_cells`.
            covered: Share of the cell's area that each is of, (M, G, G).
        """
        with torch.autocast(mean.device.type, enabled=False):
            same = (rows[:, None] == rows).float()
            total = (same @ (mean * covered[:, None]).flatten(1)).view_as(mean)
            covered = (same @ covered.flatten(1)).view_as(covered)
        z, count = self._read(rows)
        seen = covered >= self.min_cover
        count = (count + seen).clamp_max(_MAX_COUNT)
        probs = total / covered.clamp_min(1e-12)[:, None]
        new, _ = ensemble_update(z, probs, self.alpha, count.clamp_min(1)[:, None])
        # Repeated rows hold equal values, so that the order of writing does not matter.
        rows = rows.to(self._bytes.device)
        self.z[rows] = torch.where(seen[:, None], new, z).to(self._bytes.device, torch.float16)
        self.count[rows] = count.to(self._bytes.device, torch.int16)

    def state_dict(self, folder: Path, step: int) -> dict[str, Any]:
        """State for a checkpoint; that of an ensemble on disk is a file whose name it holds.

        Args:
            folder: Where checkpoints are, and the file is written to.
            step: Steps done, for the file's name.
        """
        state: dict[str, Any] = {"image_ids": self.image_ids, "cells": self.cells}
        held = self._bytes[: len(self._rows)]
        if self._folder is None:
            return state | {"bytes": held}
        return state | {"file": write_version(held, folder, step)}

    def load_state_dict(
        self, state: dict[str, Any], folders: Sequence[Path], device: torch.device
    ) -> None:
        """Take over a state; its images come first.

        Args:
            state: What `state_dict` returned.
            folders: Where to look for its file.
            device: Where to keep the ensemble, if not on disk.

        Raises:
            ValueError: If it is of another number of classes or cells, or its file is damaged.
            FileNotFoundError: If its file is missing.
        """
        size = (len(state["image_ids"]), self.bytes_per_image)
        if state["cells"] != self.cells or ("bytes" in state and state["bytes"].shape != size):
            raise ValueError(
                f"the checkpoint's ensemble has {state['cells']} cells, this one {self.cells}, or "
                "their numbers of classes differ; give the options of the run"
            )
        self._rows, self._bytes = {}, self._bytes[:0]
        self.add(state["image_ids"], device)
        held = state["bytes"] if "bytes" in state else read_version(state["file"], folders, size)
        self._bytes[: size[0]] = held.to(self._bytes.device)

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Averages (M, C, G, G) and counts (M, G, G) as float32 on the rows' device."""
        held = rows.to(self._bytes.device)
        return self.z[held].to(rows.device).float(), self.count[held].to(rows.device).float()

    def _allocate(self, rows: int, device: torch.device) -> Tensor:
        """Zeros, (rows, bytes_per_image), on the device or in a new file."""
        if self._folder is None or rows == 0:
            return torch.zeros(rows, self.bytes_per_image, dtype=torch.uint8, device=device)
        handle, path = tempfile.mkstemp(".tmp", "ensemble-", self._folder)
        size = rows * self.bytes_per_image
        try:
            # Where a page of a file with holes finds no room, the system kills the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
        except OSError as error:
            Path(path).unlink()
            problem = f"{error.strerror}: no room for an ensemble of {size / 2**20:.0f} MiB"
            raise OSError(error.errno, problem, str(self._folder)) from error
        finally:
            os.close(handle)
        mapped = torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
        # Open files have no names to be deleted by on some systems; there it stays.
        with suppress(OSError):
            Path(path).unlink()
        return mapped.view(rows, self.bytes_per_image)
