"""Lightning and BaseMethod against a bare loop over the same network, batches and optimiser."""

from time import process_time

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
STEPS, WARM_UP = 40, 3


class BareLoop:
    """What the method does in a step, without Lightning."""

    def __init__(self):
        self.network = Segmenter(CLASSES, BACKBONE).train()
        backbone = list(self.network.backbone.parameters())
        head = [*self.network.decoder.parameters(), *self.network.head.parameters()]
        groups = [{"params": backbone, "lr": 1e-4}, {"params": head, "lr": 1e-3}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: max(0, 1 - step / STEPS) ** 0.9
        )

    def step(self, batch):
        loss = F.cross_entropy(self.network(batch["image"]), batch["mask"], ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()


class TakingTurns:
    """Batches for Lightning; before each, the bare loop makes a step on it too.

    So the two are timed within the same second, and other load on the machine slows both.
    """

    def __init__(self):
        torch.manual_seed(0)
        self.batches = [
            {
                "image": torch.rand(BATCH, 3, CROP, CROP),
                "mask": torch.randint(CLASSES, (BATCH, CROP, CROP)),
            }
            for _ in range(4)
        ]
        self.loop = BareLoop()
        self.seconds = {"bare": [], "lightning": []}

    def __len__(self):
        return STEPS

    def __iter__(self):
        for number in range(STEPS):
            batch = self.batches[number % 4]
            start = process_time()
            self.loop.step(batch)
            middle = process_time()
            yield batch
            # Lightning comes back for the next batch when it has made its step.
            self.seconds["bare"].append(middle - start)
            self.seconds["lightning"].append(process_time() - middle)


def fit(batches):
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Supervised(CLASSES, BACKBONE), batches)


@pytest.mark.benchmark
def test_lightning_adds_at_most_five_percent(benchmark, measured):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    batches = TakingTurns()
    try:
        benchmark.pedantic(fit, (batches,), rounds=1)
    finally:
        torch.set_num_threads(threads)
    bare, lightning = (np.array(batches.seconds[key][WARM_UP:]) for key in ("bare", "lightning"))
    ratio = float(np.median(lightning / bare))
    measured("step / bare loop", ratio, at_most=1.05)
