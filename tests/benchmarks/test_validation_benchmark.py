"""Validation of whole photographs: what it does besides running the network."""

from time import process_time

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer

from wsss_zoo import VOC2012, SegmentationMetrics, Supervised

IMAGES, WARM_UP = 20, 3

# Lightning's hint on loaders: there are no workers here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


class Clock(Callback):
    """Processor time of each image, and of the network's forward pass in it.

    In one process and one thread, so that reading the files, which workers do meanwhile in earnest,
    counts in full; processor time, so that other load on the machine does not.
    """

    def __init__(self, network):
        self.seconds, self.network_seconds = [], []
        network.register_forward_pre_hook(self._enter)
        network.register_forward_hook(self._leave)

    def _enter(self, module, args):
        self.entered = process_time()

    def _leave(self, module, args, output):
        self.network_seconds.append(process_time() - self.entered)

    def on_validation_start(self, trainer, pl_module):
        self.last = process_time()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now = process_time()
        self.seconds.append(now - self.last)
        self.last = now

    def share_outside(self):
        whole, network = (np.array(s[WARM_UP:]) for s in (self.seconds, self.network_seconds))
        return float(np.median(1 - network / whole))


@pytest.mark.benchmark
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet50"])
def test_a_tenth_of_validation_at_most_is_outside_the_network(
    photos, backbone, benchmark, measured
):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data = VOC2012(str(photos), num_workers=0)
    method = Supervised(data.num_classes, backbone)
    clock = Clock(method.network)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        limit_val_batches=IMAGES,
        # The clock comes last: the metrics of an image are part of its time.
        callbacks=[SegmentationMetrics(), clock],
        default_root_dir=photos,
    )
    try:
        benchmark.pedantic(
            trainer.validate, (method, data), {"verbose": False}, rounds=1, warmup_rounds=0
        )
    finally:
        torch.set_num_threads(threads)
    assert len(clock.seconds) == len(clock.network_seconds) == IMAGES
    measured("share outside the network", clock.share_outside(), at_most=0.1)
