"""Peak memory of validation and prediction does not grow with the number of images."""

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the peak of a process never falls.
RUN = """
import re, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from pytorch_lightning import Trainer
from wsss_zoo import CAM, Shapes, Supervised
from wsss_zoo import ClassificationMetrics, PredictionVisualizer
from wsss_zoo import PseudoLabelWriter, SegmentationMetrics

stage, method_name, count, folder = *sys.argv[1:3], int(sys.argv[3]), sys.argv[4]
method = {"CAM": CAM, "Supervised": Supervised}[method_name](7, backbone="test_resnet")
data = Shapes(num_train=count, num_val=count, image_size=160, num_workers=0)
metrics = [SegmentationMetrics(boundary=True), ClassificationMetrics(), PredictionVisualizer()]
writer = PseudoLabelWriter(save_cams=method_name == "CAM")
trainer = Trainer(
    callbacks=[writer] if stage == "predict" else metrics,
    default_root_dir=folder,
    logger=False,
    accelerator="cpu",
    enable_progress_bar=False,
)
if stage == "predict":
    trainer.predict(method, data, return_predictions=False)
else:
    trainer.validate(method, data, verbose=False)
# Not ru_maxrss: that begins with the memory of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def peak_megabytes(stage: str, method: str, count: int, folder: str) -> int:
    command = [sys.executable, "-W", "ignore", "-c", RUN, stage, method, str(count), folder]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.splitlines()[-1])


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("method", ["CAM", "Supervised"])
@pytest.mark.parametrize("stage", ["validate", "predict"])
def test_four_times_the_images_need_no_more_memory(stage, method, tmp_path, measured):
    # Not fewer: the first images still fill the allocator's pools.
    few, many = (peak_megabytes(stage, method, n, str(tmp_path / str(n))) for n in (40, 160))
    measured("MB for 40 images", few)
    # 120 more images of 160 x 160 are 37 MB as floats, 220 MB with their maps.
    measured("MB more for 160 images", many - few, at_most=15)
