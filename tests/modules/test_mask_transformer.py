"""The mask transformer: sizes, layers, queries, gradients, precision, what is not decayed."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.each import each
from wsss_zoo.functional import semantic_inference
from wsss_zoo.modules import MaskTransformer, undecayed

SMALL = {"queries": 7, "channels": 16, "heads": 2, "decoder_layers": 3, "feedforward": 24}


def network(backbone="test_resnet", seed=0, **options):
    torch.manual_seed(seed)
    return MaskTransformer(4, backbone, **(SMALL | options))


def picture(*size, seed=0):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "output_stride"),
    [("test_resnet", 32), ("test_resnet", 16), ("test_efficientnet", 8), ("test_convnext", 32)],
)
@each("size", [(213, 320), (161, 100), (7, 5)])
def test_shapes_at_any_size(backbone, output_stride, size):
    model = network(backbone, output_stride=output_stride).eval()
    proposals = model(picture(*size))
    cells = [-(-side // output_stride) * output_stride // 4 for side in size]
    assert tuple(proposals.class_logits.shape) == (2, 3, 7, 5)
    assert tuple(proposals.mask_logits.shape) == (2, 3, 7, *cells)
    assert tuple(proposals.pixel_embeddings.shape) == (2, 16, *cells)
    assert model.scores(picture(*size)).shape == (2, 4, *size)


@torch.no_grad()
def test_heads_equal_their_definition_in_every_layer():
    model, image = network().eval(), picture(40, 70)
    proposals = model(image)
    queries = model.decoder(model.backbone(image)[-1])
    embeddings = proposals.pixel_embeddings
    linears = [model.mask_head[i] for i in (0, 2, 4)]
    for layer, states in enumerate(queries):
        torch.testing.assert_close(proposals.class_logits[:, layer], model.class_head(states))
        first, second, last = linears
        hidden = last(second(first(states).relu()).relu())
        expected = (hidden @ embeddings.flatten(2)).unflatten(2, embeddings.shape[2:])
        torch.testing.assert_close(proposals.mask_logits[:, layer], expected)


@torch.no_grad()
def test_fewer_layers_give_the_earlier_proposals():
    model, image = network().eval(), picture(32, 64)
    full = model(image)
    model.decoder.layers = model.decoder.layers[:2]
    short = model(image)
    torch.testing.assert_close(short.class_logits, full.class_logits[:, :2])
    torch.testing.assert_close(short.mask_logits, full.mask_logits[:, :2])


@torch.no_grad()
def test_scores_are_semantic_inference_of_enlarged_masks():
    model, image = network().eval(), picture(45, 70)
    proposals, scores = model(image), model.scores(image)
    assert scores.dtype == torch.float32
    for i in range(2):
        masks = F.interpolate(
            proposals.mask_logits[i : i + 1, -1], scale_factor=4, mode="bilinear"
        )[0]
        whole = semantic_inference(proposals.class_logits[i, -1], masks)
        assert whole.shape[1:] == (64, 96)
        torch.testing.assert_close(scores[i], whole[:, :45, :70])


@torch.no_grad()
def test_padding_is_on_the_right_and_at_the_bottom_with_the_mean_colour():
    model, image = network().eval(), picture(40, 50)
    padded = torch.full((2, 3, 64, 64), 0.5)
    padded[..., :40, :50] = image
    torch.testing.assert_close(model.scores(image), model.scores(padded)[..., :40, :50])


@torch.no_grad()
def test_order_of_the_queries_does_not_matter_to_the_scores():
    model, image = network().eval(), picture(48, 64)
    scores, masks = model.scores(image), model(image).mask_logits[:, -1]
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    model.decoder.queries.weight.copy_(model.decoder.queries.weight[order])
    torch.testing.assert_close(
        model(image).mask_logits[:, -1], masks[:, order], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(model.scores(image), scores, rtol=1e-4, atol=1e-4)


def test_gradient_reaches_every_parameter():
    model = network().train()
    for parameter in model.parameters():
        # Norms and biases of 0 stop gradients at the start: timm's residual blocks, equal queries.
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 1, 0.3)
    proposals = model(picture(64, 96))
    outputs = tuple(proposals)
    generator = torch.Generator().manual_seed(2)
    sum((x * torch.randn(x.shape, generator=generator)).sum() for x in outputs).backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().max() > 1e-5
    ]
    # The values there are all alike: nothing but rounding depends on who looks at whom.
    assert set(idle) <= {"decoder.layers.0.self_attention.in_proj_weight"}


def test_training_batch_of_one_tiny_image():
    model = network(freeze_backbone_bn=True).train()
    proposals = model(torch.rand(1, 3, 16, 20))
    proposals.mask_logits[:, -1].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert not any(m.training for m in model.backbone.modules() if "BatchNorm" in type(m).__name__)


def test_bfloat16_autocast_stays_close_and_finite():
    model, image = network().eval(), picture(64, 64)
    expected = model.scores(image)
    with torch.autocast("cpu", torch.bfloat16):
        scores, proposals = model.scores(image), model(image)
        loss = sum(x.float().sum() for x in (proposals.mask_logits, proposals.class_logits))
    loss.backward()
    assert scores.dtype == torch.float32
    assert (scores - expected).abs().max() < 0.1 * expected.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_never_reads_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        model = MaskTransformer(4, "test_resnet", **SMALL)
        image = torch.rand(2, 3, 45, 70)
        proposals, scores = model(image), model.scores(image)
        tensors = [*proposals.class_logits, *proposals.mask_logits, scores]
        assert {x.device.type for x in tensors} == {"cuda"}
        assert scores.shape == (2, 4, 45, 70)


@torch.no_grad()
def test_state_dict_round_trip():
    first, second, image = network().eval(), network(seed=1).eval(), picture(32, 32)
    assert not torch.equal(first.scores(image), second.scores(image))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.scores(image), second.scores(image))


@torch.no_grad()
def test_channels_last_gives_the_same():
    model, image = network().eval(), picture(48, 64)
    expected = model.scores(image)
    model.to(memory_format=torch.channels_last)
    actual = model.scores(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_norms_and_embeddings_are_not_decayed():
    model = network("test_convnext")
    found = {id(parameter) for parameter in undecayed(model)}
    assert len(found) == len(undecayed(model))
    names = {name for name, parameter in model.named_parameters() if id(parameter) in found}
    assert {
        "decoder.queries.weight",
        "decoder.norm.bias",
        "decoder.layers.0.norms.2.weight",
    } < names
    assert "pixel_decoder.lateral.0.1.weight" in names
    assert any(name.startswith("backbone") for name in names)
    # Biases of other layers are decayed, as in MaskFormer.
    rest = {name for name, _ in model.named_parameters()} - names
    assert {"class_head.bias", "pixel_decoder.last.bias", "decoder.project.weight"} < rest
    assert not [name for name in rest if "norm" in name]


def test_size_of_the_papers_network():
    with torch.device("meta"):
        model = MaskTransformer(150, "resnet50")
    count = sum(parameter.numel() for parameter in model.parameters())
    # transformers' MaskFormer of the same options: 41.3 million (31.0 up to the pixel embeddings).
    assert count == pytest.approx(41.3e6, abs=0.1e6)


def test_no_class():
    with pytest.raises(ValueError, match="num_classes is 0; give the number of classes"):
        MaskTransformer(0, "test_resnet")
