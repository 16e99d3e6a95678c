"""The order of training and evaluation images: a function of (seed, epoch, rank), resumable."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[tuple[int, int]]):
    """Order of the images of one epoch on one rank; yields (index, visit) pairs.

    ``visit`` is unique in a run. A data set seeds its augmentation with it: every random choice is
    a function of (seed, epoch, position), whatever worker makes it. It is a ``DistributedSampler``
    only so that Lightning sees that the split over ranks is done.

    Args:
        size: Number of images of the data set.
        length: Number of images of an epoch over all ranks; None for ``size``. More than ``size``
            repeats the images, each time in a new order.
        shuffle: Whether the order changes with the epoch.
        seed: Seed of the order.
        num_replicas: Number of ranks.
        rank: This rank.
        batches_done: Returns, when an epoch begins, how many of its batches a resumed run has seen.
            Lightning makes the loader before it knows where the checkpoint stopped.
        batch_size: Images in a batch of this rank.
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
        batches_done: Callable[[], int] = lambda: 0,
        batch_size: int = 1,
    ) -> None:
        # Torch asks for a data set and takes its length only.
        super().__init__(range(size), num_replicas, rank, shuffle, seed)  # type: ignore[arg-type]
        self.size = size
        self.length = size if length is None else length
        self.batches_done, self.batch_size = batches_done, batch_size

    def __len__(self) -> int:
        """Count the images of this rank; ranks differ by one at most."""
        return len(range(self.rank, self.length, self.num_replicas))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self._order()
        first_visit = self.epoch * self.length
        # A checkpoint at the very end of an epoch has seen all batches, and none of the next.
        start = self.batches_done() * self.batch_size % max(len(self), 1)
        positions = range(self.rank, self.length, self.num_replicas)[start:]
        return iter([(int(order[position]), first_visit + position) for position in positions])

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.length) % max(self.size, 1)
        rounds = -(-self.length // self.size)
        generator = np.random.default_rng([self.seed, self.epoch])
        order = np.concatenate([generator.permutation(self.size) for _ in range(rounds)])
        return order[: self.length]


class JoinedSampler(DistributedSampler[tuple[int, int]]):
    """The order of batches that each have images of two groups, the first group's first.

    Args:
        first: Order of the first group, whose images come first in the data set.
        second: Order of the second group. Both have as many batches.
    """

    def __init__(self, first: EpochSampler, second: EpochSampler) -> None:
        size = range(first.size + second.size)
        # Torch asks for a data set and takes its length only.
        super().__init__(size, first.num_replicas, first.rank)  # type: ignore[arg-type]
        self.first, self.second = first, second

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which both orders depend."""
        super().set_epoch(epoch)
        self.first.set_epoch(epoch)
        self.second.set_epoch(epoch)

    def __len__(self) -> int:
        """Count the images of this rank."""
        return len(self.first) + len(self.second)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first, second = iter(self.first), iter(self.second)
        while batch := list(islice(first, self.first.batch_size)):
            yield from batch
            for index, visit in islice(second, self.second.batch_size):
                yield self.first.size + index, visit
