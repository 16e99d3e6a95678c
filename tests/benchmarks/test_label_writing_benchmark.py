"""Label writing against its network passes and refinement: files, estimates, views beside them."""

from time import process_time

import pytest
from pytorch_lightning import Callback, Trainer

from wsss_zoo import CAM, VOC2012, PseudoLabelWriter, Supervised
from wsss_zoo.callbacks.writers import cam_labels

IMAGES = 60

# Lightning's hint on loaders: there are no workers here.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


class Clock(Callback):
    """Processor time of a prediction, and of the passes and refinements of its images."""

    def __init__(self, network, monkeypatch):
        self.parts = self.whole = 0.0
        self.counts = True
        network.register_forward_pre_hook(self._enter)
        network.register_forward_hook(self._leave)
        crf = cam_labels._label_crf

        def timed(*args, **kwargs):
            start = process_time()
            result = crf(*args, **kwargs)
            self.parts += (process_time() - start) * self.counts
            return result

        monkeypatch.setattr(cam_labels, "_label_crf", timed)

    def _enter(self, module, args):
        self.entered = process_time()

    def _leave(self, module, args, output):
        self.parts += (process_time() - self.entered) * self.counts

    def on_predict_start(self, trainer, pl_module):
        self.started = process_time()

    def on_predict_epoch_end(self, trainer, pl_module):
        # What the writer predicts now are no labels.
        self.counts = False

    def on_predict_end(self, trainer, pl_module):
        self.whole = process_time() - self.started


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("method", "options"),
    [(CAM, {"bg_threshold": 0.3}), (CAM, {"bg_threshold": 0.3, "crf": True}), (Supervised, {})],
    ids=["CAM", "CAM_with_CRF", "Supervised"],
)
def test_parts_make_up_most_of_the_time(photos, tmp_path, measured, monkeypatch, method, options):
    data = VOC2012(str(photos), num_workers=0, predict_limit=IMAGES)
    views = {"scales": (1.0,)} if method is CAM else {}
    module = method(data.num_classes, "tf_efficientnet_lite0", **views)
    parts = module.backbone.model if method is CAM else module.network
    clock = Clock(parts, monkeypatch)
    # The clock's end of the epoch comes before the writer's, its end of all after it.
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[clock, PseudoLabelWriter(**options)],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    assert 0 < clock.parts < clock.whole
    measured("label writing / passes and refinement", clock.whole / clock.parts, at_most=1.3)
