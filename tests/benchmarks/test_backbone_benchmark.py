"""A plain ViT as backbone: what it costs beside timm's own pass, and what freezing it saves."""

import pytest
import torch

from tests.benchmarks.step_ratio import step_ratio
from wsss_zoo.modules import Backbone, Segmenter

NAME, STRIDE, SIDE = "vit_small_patch14_dinov2", 14, 224


@pytest.mark.benchmark
def test_maps_of_a_vit_beside_its_own_pass(benchmark, measured):
    """With normalisation, padding and the final norm of four blocks."""
    torch.manual_seed(0)
    backbone, image = Backbone(NAME, output_stride=STRIDE), torch.rand(1, 3, SIDE, SIDE)
    options = {"indices": list(backbone.taken), "intermediates_only": True}

    def own():
        return sum(map_.sum() for map_ in backbone(image))

    def bare():
        return sum(map_.sum() for map_ in backbone.model.forward_intermediates(image, **options))

    measured("maps / pass", step_ratio(benchmark, own, bare), at_most=1.05)


@pytest.mark.benchmark
def test_a_step_on_a_frozen_vit_beside_fine_tuning(benchmark, measured):
    torch.manual_seed(0)
    frozen, trained = (Segmenter(7, NAME, "dpt", output_stride=STRIDE).train() for _ in range(2))
    frozen.backbone.freeze()
    image = torch.rand(1, 3, SIDE, SIDE)
    losses = (lambda net=net: net(image).square().mean() for net in (frozen, trained))
    measured("frozen / fine-tuned", step_ratio(benchmark, *losses), at_most=0.55)
