"""Peak memory of prediction does not grow with the number of images."""

import subprocess
import sys

import pytest

# In a process of its own: the peak of a process never falls.
PREDICT = """
import resource, sys, torch
torch.set_num_threads(1)
from pytorch_lightning import Trainer
from wsss_zoo import CAM, PseudoLabelWriter, Shapes, Supervised

method_name, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
method = {"CAM": CAM, "Supervised": Supervised}[method_name](7, backbone="test_resnet")
data = Shapes(num_train=count, image_size=160, num_workers=0)
writer = PseudoLabelWriter(out_dir=folder, save_cams=method_name == "CAM")
Trainer(
    callbacks=[writer], logger=False, accelerator="cpu", enable_progress_bar=False
).predict(method, data, return_predictions=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_megabytes(method: str, count: int, folder: str) -> int:
    command = [sys.executable, "-W", "ignore", "-c", PREDICT, method, str(count), folder]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.splitlines()[-1])


@pytest.mark.benchmark
@pytest.mark.parametrize("method", ["CAM", "Supervised"])
def test_prediction_of_ten_times_the_images_needs_no_more_memory(method, tmp_path):
    few, many = (peak_megabytes(method, n, str(tmp_path / str(n))) for n in (12, 120))
    # 108 more images of 160 x 160 are 33 MB as floats, 200 MB with their maps.
    assert many - few < 15, (few, many)
