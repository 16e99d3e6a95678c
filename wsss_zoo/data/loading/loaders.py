"""Loaders whose order and augmentation are the same in every run, worker and resume."""

import gc
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, Dataset

from wsss_zoo.data.loading.sampler import EpochSampler, JoinedSampler
from wsss_zoo.data.transforms.crops import Sample


class Order(NamedTuple):
    """What the order of training images depends on; see `EpochSampler`."""

    seed: int
    ranks: int
    rank: int
    batches_done: Callable[[], int]


class LateLoader(DataLoader[Sample]):
    """A loader that begins an epoch when its first batch is asked for.

    Lightning opens the loader's iterator before it knows the epoch and the position of a
    checkpoint; workers would already fetch the batches of another epoch then.
    """

    # A generator: torch declares an iterator class of its own.
    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        was_enabled = gc.isenabled()
        # What is garbage here may wait for threads when it is freed, such as an ONNX session. A
        # forked worker has none of these threads: it must not free it. See `begin_worker`.
        gc.disable()
        try:
            iterator = super().__iter__()
        finally:
            if was_enabled:
                gc.enable()
        yield from iterator


def train_loader(
    dataset: Dataset[Sample],
    batch_size: int,
    num_workers: int,
    order: Order,
    steps: int | None = None,
) -> DataLoader[Sample]:
    """Load shuffled batches of equal size, ``batch_size`` per rank.

    ``steps`` are the batches of an epoch; None for one pass over the images, less the rest that
    fills no batch. Fewer images than a batch are repeated to fill one.
    """
    # Ours have a length, which torch's Dataset does not declare; so below.
    size = len(dataset)  # type: ignore[arg-type]
    if steps is None:
        steps = max(1, size // (batch_size * order.ranks))
    sampler = _sampler(size, batch_size, order, steps)
    return _loader(dataset, num_workers, batch_size=batch_size, sampler=sampler)


def semi_loader(
    datasets: Mapping[str, Dataset[Sample]],
    sizes: Mapping[str, int],
    num_workers: int,
    order: Order,
) -> CombinedLoader:
    """Load batches of ``labeled`` and ``unlabeled`` images, of ``sizes``, side by side.

    An epoch is one pass over the unlabelled images; the labelled ones are repeated, in a new order
    each time, to its length.
    """
    unlabeled = train_loader(datasets["unlabeled"], sizes["unlabeled"], num_workers, order)
    steps = len(unlabeled)
    labeled = train_loader(datasets["labeled"], sizes["labeled"], num_workers, order, steps)
    return CombinedLoader({"labeled": labeled, "unlabeled": unlabeled}, "max_size_cycle")


def joined_loader(
    dataset: Dataset[Sample],
    groups: tuple[int, int],
    sizes: tuple[int, int],
    num_workers: int,
    order: Order,
) -> DataLoader[Sample]:
    """Load batches with images of two groups, the first group's first.

    An epoch is one pass over the group that takes longer; the images of the other are repeated, in
    a new order each time, to its length.

    Args:
        dataset: The images of the first group, then those of the second, which may have none.
        groups: Images of each group.
        sizes: Images of each group in a batch of a rank.
        num_workers: Loader processes.
        order: What the order depends on.
    """
    if not groups[1]:
        return train_loader(dataset, sizes[0], num_workers, order)
    pairs = list(zip(groups, sizes, strict=True))
    steps = max(1, *(count // (size * order.ranks) for count, size in pairs))
    first, second = (_sampler(count, size, order, steps) for count, size in pairs)
    sampler = JoinedSampler(first, second)
    return _loader(dataset, num_workers, batch_size=sum(sizes), sampler=sampler)


def evaluation_loader(
    dataset: Dataset[Sample], num_workers: int, ranks: int, rank: int
) -> DataLoader[Sample]:
    """Load images one at a time, in order, each on exactly one rank."""
    size = len(dataset)  # type: ignore[arg-type]
    sampler = EpochSampler(size, shuffle=False, num_replicas=ranks, rank=rank)
    return _loader(dataset, num_workers, batch_size=1, sampler=sampler)


def _sampler(size: int, batch_size: int, order: Order, steps: int) -> EpochSampler:
    return EpochSampler(
        size,
        length=steps * batch_size * order.ranks,
        seed=order.seed,
        num_replicas=order.ranks,
        rank=order.rank,
        batches_done=order.batches_done,
        batch_size=batch_size,
    )


def _loader(dataset: Dataset[Sample], num_workers: int, **arguments: Any) -> DataLoader[Sample]:
    return LateLoader(
        dataset,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Workers would otherwise be seeded from, and so advance, the global generator.
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=begin_worker,
        # A data set whose samples are no mere tensors says how they become a batch.
        collate_fn=getattr(dataset, "collate", None),
        **arguments,
    )


def begin_worker(worker: int) -> None:
    """Leave to the main process what is its own.

    Its objects are never freed here. Ctrl-C, which reaches all processes of a terminal, is ignored:
    the step under way needs batches, and the main process ends its loader processes.
    """
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
