"""Lightning and BaseMethod against a bare loop over the same network, batches and optimiser."""

from time import perf_counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer

from wsss_zoo.methods import Supervised
from wsss_zoo.modules import Segmenter

# Lightning's hints on loaders: a list of batches has no workers, and nothing is validated here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)

BACKBONE, CLASSES, CROP, BATCH = "tf_efficientnet_lite0", 7, 160, 4
STEPS, ROUNDS = 7, 5


class TimedBatches:
    """A few batches, and the seconds between one and the next: what a step takes."""

    def __init__(self):
        torch.manual_seed(0)
        self.batches = [
            {
                "image": torch.rand(BATCH, 3, CROP, CROP),
                "mask": torch.randint(CLASSES, (BATCH, CROP, CROP)),
            }
            for _ in range(STEPS)
        ]
        self.seconds = []

    def __len__(self):
        return STEPS

    def __iter__(self):
        before = None
        for batch in self.batches:
            now = perf_counter()
            if before is not None:
                self.seconds.append(now - before)
            before = now
            yield batch


def bare(batches):
    """What the method does, without Lightning."""
    network = Segmenter(CLASSES, BACKBONE)
    backbone = list(network.backbone.parameters())
    head = [*network.decoder.parameters(), *network.head.parameters()]
    groups = [{"params": backbone, "lr": 1e-4}, {"params": head, "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / STEPS) ** 0.9)
    network.train()
    for batch in batches:
        loss = F.cross_entropy(network(batch["image"]), batch["mask"], ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def with_lightning(batches):
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Supervised(CLASSES, BACKBONE), batches)


@pytest.mark.benchmark
def test_lightning_adds_at_most_five_percent(benchmark):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timed, reference = TimedBatches(), TimedBatches()
    try:
        # As the set-up of every round: the two take turns, so that other load slows both.
        benchmark.pedantic(
            with_lightning, (timed,), setup=lambda: bare(reference), rounds=ROUNDS, warmup_rounds=1
        )
    finally:
        torch.set_num_threads(threads)
    # The first round warms up; fetching ahead makes the first interval of each other too short.
    steps = [
        np.array(source.seconds).reshape(ROUNDS + 1, STEPS - 1)[1:, 1:]
        for source in (timed, reference)
    ]
    ratio = np.median(steps[0]) / np.median(steps[1])
    benchmark.extra_info["ratio"] = ratio
    print(f"\nstep {np.median(steps[0]):.3f} s, {ratio:.3f} times a bare loop")
    assert ratio <= 1.05
