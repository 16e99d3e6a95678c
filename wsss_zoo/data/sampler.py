"""The order of training and evaluation images: a function of (seed, epoch, rank), resumable."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Order of the images of one epoch on one rank; gives (index, draw) pairs.

    ``draw`` is a number that never comes twice in a run: a data set seeds its augmentation with it,
    so that every random choice is a function of (seed, epoch, position), whatever worker makes it.
    It is a ``DistributedSampler`` only so that Lightning sees that the split over ranks is done.

    Args:
        size: Number of images of the data set.
        length: Number of images of an epoch over all ranks. More than ``size`` repeats the images
            (each time in a new order), fewer takes the first of a shuffled order. None: ``size``.
        shuffle: Whether the order changes with the epoch.
        seed: Seed of the order.
        num_replicas: Number of ranks.
        rank: This rank.
    """

    def __init__(
        self,
        size: int,
        *,
        length: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(range(size), num_replicas, rank, shuffle, seed)  # type: ignore[arg-type]
        self.size = size
        self.length = size if length is None else length
        self._start = 0

    def __len__(self) -> int:
        """Images of this rank; ranks differ by one at most, none is given twice for evaluation."""
        return len(range(self.rank, self.length, self.num_replicas))

    def start_at(self, position: int) -> None:
        """Leave out the first ``position`` images of this rank in the next epoch only (resume)."""
        self._start = position

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self._order()
        first_draw = self.epoch * self.length
        start, self._start = self._start, 0
        positions = range(self.rank, self.length, self.num_replicas)[start:]
        return iter([(int(order[position]), first_draw + position) for position in positions])

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length) % max(self.size, 1)
        rounds = -(-self.length // self.size)
        generator = np.random.default_rng([self.seed, self.epoch])
        order = np.concatenate([generator.permutation(self.size) for _ in range(rounds)])
        return order[: self.length]
