"""Crops that leave BatchNorm a single value are refused in setup, and no others."""

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from tests.methods.zoo import STEPS, make_data, make_method, quick
from wsss_zoo.methods.batch_norm import least_crop

ONE = {"crop_size": 16, "image_size": 32, "batch_size": 1, "num_train": 16, "val_split": None}


def fit(case, folder, **data):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(fast_dev_run=True, accelerator="cpu", default_root_dir=folder, **quiet)
    trainer.fit(make_method(case), make_data(case, folder, **(ONE | data)))


@pytest.mark.parametrize("kernel", [1, 3])
def test_least_crop_of_a_small_network(kernel):
    """Pooled by 8 after a padded convolution: a second value from 9 pixels on."""
    conv = nn.Conv2d(3, 4, kernel, padding=kernel // 2)
    network = nn.Sequential(conv, nn.AvgPool2d(8, ceil_mode=True), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert [least_crop(network, side) for side in (4, 8, 9, 40)] == [9, 9, 9, 40]
    assert least_crop(network.eval(), 4) == 4
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    pooled = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))
    assert least_crop(pooled, 4) is None


SMALL = {"Supervised", "MaskFormer", "FixMatch", "Supervised unet"}


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("case", quick(STEPS, SMALL))
def test_every_method_runs_or_is_refused_in_setup(case, tmp_path):
    """Never BatchNorm's own words; and the least crop that the message names runs."""
    try:
        fit(case, tmp_path)
    except ValueError as error:
        said = str(error)
        # CPC has too few rows of patches first.
        words = "no row of patches" if case == "CPC" else "leave BatchNorm a single value"
        assert said.startswith("data.crop_size 16 ")
        assert words in said
        side = int(said.partition("crop_size to at least ")[2].split(",")[0])
        fit(case, tmp_path, crop_size=side, image_size=64)
        if case == "CPC":
            return
        option = said.rpartition("data.")[2].split(" ")[0]
        fit(case, tmp_path, **{option: 2})
    else:
        assert case not in SMALL
