"""Time of a training step over that of something barer, taken in turns."""

from collections.abc import Callable
from time import process_time

import numpy as np
import torch
from torch import Tensor


def step_ratio(
    benchmark, step: Callable[[], Tensor], bare: Callable[[], Tensor], rounds: int = 12
) -> float:
    """Median ratio of two losses with their backward passes, on one thread.

    Processor time of the one thread, and the two take turns: other load then hardly counts.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds: list[tuple[float, float]] = []

    def timed(loss: Callable[[], Tensor]) -> float:
        start = process_time()
        loss().backward()
        return process_time() - start

    def both() -> None:
        seconds.append((timed(step), timed(bare)))

    both()
    seconds.clear()
    benchmark.pedantic(both, rounds=rounds, iterations=1)
    torch.set_num_threads(threads)
    times = np.array(seconds)
    return float(np.median(times[:, 0] / times[:, 1]))
