"""CAM and Grad-CAM: maps, tags, scores, and what Lightning's inference mode does to gradients."""

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.functional import class_activation_map, grad_cam, multi_scale_cam
from wsss_zoo.methods import CAM

TINY = "test_efficientnet"

# Lightning's hints on loaders: these tests have no workers and mostly no validation.
pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)


def method(**options):
    torch.manual_seed(0)
    result = CAM(4, **({"backbone": TINY} | options))
    result.log = lambda *_, **__: None
    return result.eval()


def sample(height=53, width=70, tags=(1.0, 0.0, 1.0)):
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(1, 3, height, width, generator=generator),
        "image_labels": torch.tensor([tags]),
        "image_id": ["a"],
    }


def test_learns_tags_and_predicts_the_same_after_reload(samples, loader, trainer, tmp_path):
    torch.manual_seed(0)
    learner = CAM(4, TINY, lr=3e-3, head_lr_mult=1)
    fit = trainer(max_steps=40)
    fit.fit(learner, loader(40))
    outputs = fit.predict(learner, loader(batch_size=1))
    for output, truth in zip(outputs, samples, strict=True):
        assert torch.equal(output["scores"][0] > 0, truth["image_labels"] > 0)
    fit.save_checkpoint(tmp_path / "last.ckpt")
    again = CAM.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert again.hparams == learner.hparams
    for output, other in zip(outputs, fit.predict(again, loader(batch_size=1)), strict=True):
        assert torch.equal(output["cam"], other["cam"])
        assert torch.equal(output["scores"], other["scores"])


def test_loss_is_the_multi_label_soft_margin_loss(batch):
    learner = method()
    expected = F.multilabel_soft_margin_loss(learner(batch["image"]), batch["image_labels"])
    torch.testing.assert_close(learner.training_step(batch, 0), expected)


def test_scores_are_the_mean_of_the_class_activation_map():
    learner, image = method(), sample()["image"]
    with torch.no_grad():
        cam = class_activation_map(learner.backbone(image)[-1], learner.classifier.weight)
        torch.testing.assert_close(learner(image), cam.mean((2, 3)))
        assert torch.equal(learner.validation_step(sample(), 0)["scores"], learner(image))
    assert learner.classifier.bias is None


def naive_maps(learner, batch, scales):
    """Every view for itself, the classes all together."""
    image = batch["image"]
    height, width = image.shape[-2:]
    features = []
    for scale in scales:
        size = (round(height * scale), round(width * scale))
        view = image
        if size != (height, width):
            view = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)
        padded = F.pad(view, (0, -size[1] % 16, 0, -size[0] % 16))
        mean, std = learner.backbone.mean, learner.backbone.std
        padded[..., size[0] :, :] = mean
        padded[..., :, size[1] :] = mean
        normal = (padded - mean) / std
        pair = [learner.backbone.model(x)[-1] for x in (normal, normal.flip(-1))]
        features.append(torch.cat(pair))
    weight, tags = learner.classifier.weight, batch["image_labels"][0]
    return multi_scale_cam(features, weight, tags, (height, width))


@each("scales", [(1.0,), (0.5, 1.0, 1.5)])
@each("size", [(48, 64), (53, 70)])
def test_maps_are_the_merged_maps_of_all_views(scales, size):
    learner, batch = method(scales=scales), sample(*size)
    with torch.no_grad():
        output = learner.predict_step(batch, 0)
        expected = naive_maps(learner, batch, scales)
        torch.testing.assert_close(output["scores"], learner(batch["image"]))
    torch.testing.assert_close(output["cam"][0], expected, rtol=1e-4, atol=1e-5)
    assert output["cam"].shape == (1, 3, *size)
    assert output["cam"][0, 1].abs().max() == 0
    assert output["cam"].min() >= 0
    assert output["cam"].max() <= 1


@pytest.mark.parametrize("cam_kind", ["cam", "grad_cam"])
def test_image_and_mirror_are_one_forward_pass_per_scale(cam_kind):
    learner = method(scales=(0.5, 1.0, 1.5), cam_kind=cam_kind)
    sizes = []
    learner.backbone.model.register_forward_pre_hook(lambda _, x: sizes.append(tuple(x[0].shape)))
    learner.predict_step(sample(48, 64), 0)
    assert sizes == [(2, 3, 32, 32), (2, 3, 48, 64), (2, 3, 80, 96)]


def test_mirrored_image_has_mirrored_maps_at_sizes_without_padding():
    # A network that is mirror-equivariant as far as convolution allows: even sizes, stride 16.
    learner, batch = method(backbone="test_resnet", scales=(1.0,)), sample(64, 80)
    mirrored = batch | {"image": batch["image"].flip(-1)}
    with torch.no_grad():
        cam = learner.predict_step(batch, 0)["cam"]
        other = learner.predict_step(mirrored, 0)["cam"]
    torch.testing.assert_close(other, cam.flip(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cam_kind", ["cam", "grad_cam"])
def test_scores_without_scale_one(cam_kind):
    learner, batch = method(scales=(0.5,), cam_kind=cam_kind), sample()
    with torch.no_grad():
        output = learner.predict_step(batch, 0)
        torch.testing.assert_close(output["scores"], learner(batch["image"]))


@pytest.mark.parametrize("cam_kind", ["cam", "grad_cam"])
def test_image_without_tags_has_empty_maps_and_scores(cam_kind):
    learner, batch = method(cam_kind=cam_kind), sample(tags=(0.0, 0.0, 0.0))
    with torch.no_grad():
        output = learner.predict_step(batch, 0)
        torch.testing.assert_close(output["scores"], learner(batch["image"]))
    assert output["cam"].shape == (1, 3, 53, 70)
    assert output["cam"].abs().max() == 0


def test_several_images_are_predicted_one_by_one(batch):
    learner = method(scales=(1.0, 0.5))
    with torch.no_grad():
        both = learner.predict_step(batch, 0)
        for i in range(2):
            one = {key: value[i : i + 1] for key, value in batch.items()}
            output = learner.predict_step(one, 0)
            torch.testing.assert_close(output["cam"][0], both["cam"][i])
            torch.testing.assert_close(output["scores"][0], both["scores"][i])


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5, 2.0)])
def test_grad_cam_of_the_last_map_is_cam_through_trainer_predict(loader, trainer, scales):
    run = trainer()
    cams = [
        run.predict(method(scales=scales, cam_kind=kind), loader(batch_size=1))
        for kind in ("cam", "grad_cam")
    ]
    assert run.predict_loop.inference_mode
    for cam, gradient in zip(*cams, strict=True):
        torch.testing.assert_close(gradient["cam"], cam["cam"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient["scores"], cam["scores"])
        assert not gradient["cam"].requires_grad


def test_grad_cam_is_cam_over_the_number_of_positions_and_rectified():
    learner = method()
    pair = learner.backbone.prepare(sample(48, 64)["image"])
    activations, features = learner.backbone.extract_from(pair, None)
    score = learner.classifier(features.mean((2, 3)))[0, 1]
    gradients = torch.autograd.grad(score, activations)[0]
    cam = class_activation_map(features, learner.classifier.weight)[:, 1]
    torch.testing.assert_close(grad_cam(activations, gradients), cam.relu() / (3 * 4))


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [("test_resnet", "layer3"), ("test_resnet", "layer2.0.bn1"), (TINY, "blocks.2")],
)
def test_grad_cam_of_a_named_layer_against_gradients_of_the_whole_graph(
    backbone, layer, loader, trainer
):
    options = {"backbone": backbone, "cam_kind": "grad_cam", "grad_cam_layer": layer}
    learner = method(**options, scales=(1.0,))
    for norm in learner.modules():
        # Residual branches start at zero, and with them every gradient inside.
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    outputs = trainer().predict(learner, loader(batch_size=1))
    batch = next(iter(loader(batch_size=1)))
    tags = batch["image_labels"][0]
    prepared = learner.backbone.prepare(batch["image"])
    pair = torch.cat([prepared, prepared.flip(-1)]).requires_grad_()
    kept = []
    module = learner.backbone.model.get_submodule(layer)
    # The clone keeps what an in-place activation behind the layer would overwrite.
    with module.register_forward_hook(lambda _, __, x: (kept.append(x), x.clone())[1]):
        scores = learner.classifier(learner.backbone.extract(pair)[-1].mean((2, 3)))
    maps = []
    for k in range(3):
        gradients = torch.autograd.grad(scores[:, k].sum(), kept[0], retain_graph=True)[0]
        weight = gradients.mean((2, 3), keepdim=True)
        maps.append((weight * kept[0]).sum(1).relu() * kept[0][0, 0].numel())
    expected = multi_scale_cam([torch.stack(maps, 1).detach()], torch.eye(3), tags, (64, 64))
    assert expected.amax() > 0.9
    torch.testing.assert_close(outputs[0]["cam"][0], expected, rtol=1e-3, atol=1e-4)


def test_grad_cam_of_a_frozen_backbone():
    options = {"cam_kind": "grad_cam", "grad_cam_layer": "blocks.2"}
    learner, frozen = method(**options), method(**options, frozen_stages=5)
    output, other = learner.predict_step(sample(), 0), frozen.predict_step(sample(), 0)
    torch.testing.assert_close(output["cam"], other["cam"])


def test_bfloat16_autocast_has_a_finite_float32_loss(batch):
    learner = method().train()
    with torch.autocast("cpu", torch.bfloat16):
        value = learner.training_step(batch, 0)
        output = learner.eval().predict_step(batch, 0)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert output["cam"].dtype == torch.float32


@each(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1; CAM needs background"),
        ({"scales": ()}, "scales is"),
        ({"scales": (0.0,)}, "scales is"),
        ({"cam_kind": "gradcam"}, "cam_kind is 'gradcam'; give 'cam' or 'grad_cam'"),
        ({"grad_cam_layer": "blocks.2"}, "grad_cam_layer has no effect with cam_kind 'cam'"),
        ({"cam_kind": "grad_cam", "grad_cam_layer": "layer4"}, r"no layer 'layer4'; .*blocks\.4"),
        ({"frozen_stages": 6}, "cannot freeze 6 stages"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        CAM(**({"num_classes": 4, "backbone": TINY} | options))


def test_prediction_without_tags():
    with pytest.raises(ValueError, match="give the images to predict image_labels"):
        method().predict_step({"image": torch.rand(1, 3, 32, 32)}, 0)


@torch.no_grad()
@each("stride", [16, 32])
def test_maps_are_merged_on_the_backbones_own_grid(stride):
    learner = method(output_stride=stride, scales=(1.0,), backbone="test_resnet")
    batch = sample(height=stride, width=5 * stride, tags=(1.0, 0.0, 0.0))
    prepared = learner.backbone.prepare(batch["image"])
    features = learner.backbone.extract(torch.cat([prepared, prepared.flip(-1)]))[-1]
    cam = class_activation_map(features, learner.classifier.weight)[:, :1].relu()
    merged = F.interpolate(cam[:1] + cam[1:].flip(-1), (stride, 5 * stride), mode="bilinear")[0]
    expected = merged / (merged.max() + 1e-5)
    torch.testing.assert_close(learner.predict_step(batch, 0)["cam"][0, :1], expected)


@pytest.mark.parametrize("backbone", ["test_vit", TINY])
def test_max_pooling_scores_the_strongest_position(backbone):
    learner, batch = method(backbone=backbone, pooling="max", scales=(1.0,)), sample(48, 64)
    with torch.no_grad():
        features = learner.backbone(batch["image"])[-1]
        cam = class_activation_map(features, learner.classifier.weight)
        torch.testing.assert_close(learner(batch["image"]), cam.flatten(2).max(2)[0])
        output = learner.predict_step(batch, 0)
    torch.testing.assert_close(output["scores"], learner(batch["image"]))


def test_grad_cam_of_the_last_map_of_a_vit_is_its_cam():
    cams = []
    for kind in ("cam", "grad_cam"):
        learner = method(backbone="test_vit", pooling="max", cam_kind=kind)
        cams.append(learner.predict_step(sample(48, 64), 0)["cam"].detach())
    torch.testing.assert_close(*cams, rtol=1e-4, atol=1e-5)
