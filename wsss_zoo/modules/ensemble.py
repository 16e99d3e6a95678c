"""Running averages of a network's predictions, on a grid over each image."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from wsss_zoo.functional import cells_to_crop, ensemble_update

_MAX_COUNT = torch.iinfo(torch.int16).max


class ProbabilityEnsemble:
    """Running average of class probabilities in G x G cells of each image.

    A prediction for a crop is added to the cells that it covers. Each cell counts its predictions,
    which corrects the bias of its average; a cell without one is unknown. Averages are float16 and
    counts int16: G^2 (2 C + 2) bytes an image, on the device of the network.

    Args:
        num_classes: Number of classes C.
        cells: Rows and columns of the grid, G >= 1.
        alpha: Share of the old average, in [0, 1).
        min_cover: Share of a cell's area in (0, 1] that a crop must cover to count for it.
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
        #: Uncorrected averages, (rows, C, G, G) float16.
        self.z = torch.zeros(0, num_classes, cells, cells, dtype=torch.float16)
        #: Predictions that each cell has seen, (rows, G, G) int16.
        self.count = torch.zeros(0, cells, cells, dtype=torch.int16)

    @property
    def image_ids(self) -> list[str]:
        """List the images in the order of their rows."""
        return list(self._rows)

    def add(self, image_ids: Iterable[str], device: torch.device) -> None:
        """Add rows for unknown images, and move all rows to the device.

        The memory grows by at least half, so that single images do not copy it each time.
        """
        for image_id in image_ids:
            self._rows.setdefault(image_id, len(self._rows))
        self.z, self.count = self.z.to(device), self.count.to(device)
        held, wanted = len(self.z), len(self._rows)
        if wanted > held:
            more = max(wanted, held * 3 // 2) - held
            self.z, self.count = (
                torch.cat([value, value.new_zeros(more, *value.shape[1:])])
                for value in (self.z, self.count)
            )

    def rows(self, image_ids: Sequence[str], device: torch.device) -> Tensor:
        """Look up the row of each image, (M,) int64.

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
        # Does not wait for the device.
        return rows.to(device, non_blocking=True)

    def targets(
        self, rows: Tensor, geometry: Tensor, image_size: Tensor, crop_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Compute the corrected averages at the pixels of crops.

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
        """Add a prediction to each cell that is covered enough.

        Several predictions for one image count as one: their average, weighted by covered area.

        Args:
            rows: Row of each prediction's image, (M,).
            mean: Probabilities, (M, C, G, G); see `crop_to_cells`.
            covered: Share of each cell's area that the prediction covers, (M, G, G).
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
        # Repeated rows hold equal values, so the order of writing does not matter.
        self.z[rows] = torch.where(seen[:, None], new, z).to(torch.float16)
        self.count[rows] = count.to(torch.int16)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        rows = len(self._rows)
        return {"image_ids": self.image_ids, "z": self.z[:rows], "count": self.count[:rows]}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned, on a device.

        Raises:
            ValueError: If the numbers of classes or cells differ, or the averages are in a file,
                as earlier versions could keep them.
        """
        if "file" in state:
            raise ValueError(
                f"the checkpoint's ensemble is in the file {state['file']!r}, which this version "
                "does not read; start a new run from the checkpoint by init_from"
            )
        z, count = _unpacked(state) if "bytes" in state else (state["z"], state["count"])
        if z.shape[1:] != self.z.shape[1:] or len(z) != len(state["image_ids"]):
            raise ValueError(
                f"the checkpoint's ensemble has {z.shape[2]} cells and {z.shape[1]} classes, this "
                f"one {self.cells} and {self.num_classes}; give the options of the run"
            )
        self._rows = {image_id: row for row, image_id in enumerate(state["image_ids"])}
        self.z = z.to(device, torch.float16, copy=True)
        self.count = count.to(device, torch.int16, copy=True)

    def _read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Read averages (M, C, G, G) and counts (M, G, G) as float32."""
        return self.z[rows].float(), self.count[rows].float()


def _unpacked(state: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Read averages and counts from the bytes (rows, n) in which earlier versions kept both."""
    cells, held = state["cells"], state["bytes"]
    size = held.shape[1] - 2 * cells**2
    z, count = held[:, :size].contiguous(), held[:, size:].contiguous()
    shape = (len(held), size // (2 * cells**2), cells, cells)
    return z.view(torch.float16).view(shape), count.view(torch.int16).view(-1, cells, cells)
