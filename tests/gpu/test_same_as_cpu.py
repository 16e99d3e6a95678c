"""What the device computes is what the CPU computes: metrics exactly, networks up to rounding."""

import json

import pytest
import torch

from tests.callbacks.fakes import IDS, ToyCAM, ToyData, ToySegmenter, trainer_in
from tests.methods.zoo import CASES, STEPS, make_method
from wsss_zoo import methods
from wsss_zoo.callbacks import ClassificationMetrics, PseudoLabelWriter, SegmentationMetrics
from wsss_zoo.files.pseudo_labels import read_label
from wsss_zoo.functional import pixel_adaptive_refinement

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"),
]
METRICS = {
    "segmentation": (
        ToySegmenter,
        lambda: SegmentationMetrics(boundary=True, small_objects=True, small_area=0.2),
    ),
    "classification": (ToyCAM, ClassificationMetrics),
}


@pytest.mark.parametrize("kind", METRICS)
def test_metrics(kind, place, tmp_path):
    method, metric = METRICS[kind]
    found = []
    for name, options in (("there", place), ("cpu", {"accelerator": "cpu", "devices": 1})):
        run = trainer_in(tmp_path / name, metric(), **options)
        run.validate(method(), datamodule=ToyData(), verbose=False)
        results = json.loads((tmp_path / name / "val_results.json").read_text())
        found.append((dict(run.callback_metrics), results))
    there, cpu = found
    assert len(cpu[0]) > 2
    assert {name: float(value) for name, value in there[0].items()} == pytest.approx(
        {name: float(value) for name, value in cpu[0].items()}, abs=1e-6
    )
    assert there[1].get("confusion") == cpu[1].get("confusion")


@pytest.mark.parametrize("options", [{}, {"par": True}, {"save_cams": True, "bg_power": 2.0}])
def test_labels_of_activation_maps(options, place, tmp_path):
    for name, own in (("there", place), ("cpu", {"accelerator": "cpu", "devices": 1})):
        run = trainer_in(tmp_path / name, PseudoLabelWriter(**options), **own)
        run.predict(ToyCAM(), datamodule=ToyData(), return_predictions=False)
    for image_id in IDS:
        there, cpu = (
            read_label(tmp_path / name / "pseudo_labels", image_id) for name in ("there", "cpu")
        )
        assert (there == cpu).mean() > 0.99


def test_refinement(device):
    image, scores = torch.rand(2, 3, 40, 50), torch.rand(2, 4, 40, 50)
    expected = pixel_adaptive_refinement(image, scores)
    found = pixel_adaptive_refinement(image.to(device), scores.to(device))
    assert found.device == device
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


SEGMENTERS = [
    case
    for case, (name, _) in STEPS.items()
    if getattr(methods, name).output == "segmentation"
    and not name.startswith("GAT")
    and (case in CASES or "ViT" in case or "largefov" in case or "unet" in case)
]


@pytest.mark.parametrize("case", SEGMENTERS)
def test_logits(case, device):
    torch.manual_seed(0)
    method, image = make_method(case).eval(), torch.rand(2, 3, 50, 70)
    with torch.no_grad():
        expected = method(image)
        found = method.to(device)(image.to(device))
    assert found.device == device
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * scale)
