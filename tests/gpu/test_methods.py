"""Every method on the device: steps, resume, validation, labels, in float32 and bf16."""

import math

import pytest
import torch
from pytorch_lightning import Callback

from tests.methods.zoo import CASES, STEPS, make_data, make_method
from tests.resumed_runs import train
from wsss_zoo import methods
from wsss_zoo.callbacks import (
    ClassificationMetrics,
    PredictionVisualizer,
    PretextMetrics,
    PseudoLabelWriter,
    SegmentationMetrics,
    StepTimes,
)
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.runs.folder import CHECKPOINT

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:The '\w+_dataloader' does not have many workers"),
    pytest.mark.filterwarnings(r"ignore:Found \d+ module\(s\) in eval mode"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]
VITS = [case for case in STEPS if "test_vit" in STEPS[case][1].values()]
FIRST, LAST = 2, 4
IMAGES = {"num_train": 4, "num_val": 2}


class Resumed(Callback):
    """Holds what a run begins with to its checkpoint, and all of it to the device."""

    def __init__(self, path, device):
        self.saved, self.device = torch.load(path, weights_only=True), device
        self.seen = False

    def on_train_start(self, trainer, pl_module):
        assert trainer.global_step == FIRST
        state = pl_module.state_dict()
        assert state.keys() == self.saved["state_dict"].keys()
        for name, value in state.items():
            assert value.device == self.device, name
            assert torch.equal(value, self.saved["state_dict"][name].to(self.device)), name
        [saved] = self.saved["optimizer_states"]
        moments = trainer.optimizers[0].state_dict()["state"]
        assert moments.keys() == saved["state"].keys()
        for key, values in moments.items():
            for name, value in values.items():
                before = saved["state"][key][name]
                # AdamW keeps its count of steps on the host.
                assert name == "step" or value is None or value.device == self.device
                assert torch.equal(torch.as_tensor(value).cpu(), torch.as_tensor(before).cpu())
        self.seen = True


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("case", [*CASES, *VITS])
def test_trains_resumes_validates_and_labels(case, precision, device, place, trainer, tmp_path):
    folder, options = tmp_path / "run", place | {"precision": precision, "deterministic": False}
    train(case, folder, StepTimes(), data=IMAGES, trainer=options | {"max_steps": FIRST})
    assert (folder / "step_times.json").exists()
    resumed = Resumed(folder / CHECKPOINT, device)
    state = train(case, folder, resumed, data=IMAGES, trainer=options | {"max_steps": LAST})
    assert resumed.seen
    assert state["/place/0"] == LAST
    for name, value in state.items():
        if name.startswith("/weights") and value.is_floating_point():
            assert value.dtype == torch.float32
            assert value.isfinite().all(), name

    kind = getattr(methods, STEPS[case][0])
    callbacks = [SegmentationMetrics(), ClassificationMetrics(), PretextMetrics()]
    data = make_data(case, tmp_path, **IMAGES)
    last = {"datamodule": data, "ckpt_path": str(folder / CHECKPOINT), "weights_only": True}
    if not case.startswith("GATCorrector"):  # graphs are not validated
        check = trainer(callbacks=[*callbacks, PredictionVisualizer()], precision=precision)
        [found] = check.validate(make_method(case), verbose=False, **last)
        assert found
        assert all(math.isfinite(value) for value in found.values())
    if kind.output == "pretext":
        return
    writer = PseudoLabelWriter(str(tmp_path / "labels"))
    run = trainer(callbacks=[writer, PredictionVisualizer()], precision=precision)
    run.predict(make_method(case), return_predictions=False, **last)
    ids = data.predict_ids()
    assert len(ids) >= len(data.split_ids("val"))
    for image_id in ids:
        label = read_label(tmp_path / "labels", image_id)
        assert label.shape == data.read_image(image_id).shape[:2]
        assert set(label.flat) <= {*range(data.num_classes), 255}
