"""DETR's decoder against plain attention, its positions, start values and refusals."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.each import each
from wsss_zoo.modules import TransformerDecoder, sine_positions
from wsss_zoo.modules.transformer_decoder import Attention


def decoder(**options):
    torch.manual_seed(0)
    given = {"in_channels": 6, "channels": 8, "queries": 5, "layers": 2, "heads": 2}
    return TransformerDecoder(**(given | {"feedforward": 12} | options)).eval()


def attention(state, heads, query, key, value):
    parts = zip(
        (query, key, value),
        state["in_proj_weight"].chunk(3),
        state["in_proj_bias"].chunk(3),
        strict=True,
    )
    query, key, value = (
        F.linear(x, weight, bias).unflatten(-1, (heads, -1)).movedim(-2, 1)
        for x, weight, bias in parts
    )
    look = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    joined = (look @ value).movedim(1, -2).flatten(-2)
    return F.linear(joined, state["out_proj.weight"], state["out_proj.bias"])


def naive(model, heads, features):
    state = model.state_dict()

    def part(prefix):
        return {
            name.removeprefix(prefix): value
            for name, value in state.items()
            if name.startswith(prefix)
        }

    def normal(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    projected = F.conv2d(features, state["project.weight"], state["project.bias"])
    height, width = projected.shape[-2:]
    memory = projected.flatten(2).mT
    key = memory + sine_positions(height, width, memory.shape[-1]).view(-1, memory.shape[-1])
    place = state["queries.weight"]
    target, outputs = torch.zeros(len(features), *place.shape), []
    for i in range(len(model.layers)):
        name = f"layers.{i}"
        own, cross = part(f"{name}.self_attention."), part(f"{name}.cross_attention.")
        looked = attention(own, heads, target + place, target + place, target)
        target = normal(f"{name}.norms.0", target + looked)
        looked = attention(cross, heads, target + place, key, memory)
        target = normal(f"{name}.norms.1", target + looked)
        forward = part(f"{name}.feedforward.")
        hidden = F.linear(target, forward["0.weight"], forward["0.bias"]).relu()
        hidden = F.linear(hidden, forward["3.weight"], forward["3.bias"])
        target = normal(f"{name}.norms.2", target + hidden)
        outputs.append(normal("norm", target))
    return outputs


@torch.no_grad()
def test_equals_plain_attention():
    model = decoder()
    for name, parameter in model.named_parameters():
        # Norms and biases begin as identities, which would hide them.
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    features = torch.randn(3, 6, 4, 7)
    outputs = model(features)
    assert [output.shape for output in outputs] == [(3, 5, 8)] * 2
    torch.testing.assert_close(outputs, naive(model, 2, features), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attention_is_torchs_with_its_start_values():
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    torch.manual_seed(1)
    ours = Attention(8, 2)
    for name, value in theirs.state_dict().items():
        own = ours.state_dict()[name]
        assert own.shape == value.shape
        assert float(own.abs().max()) == pytest.approx(float(value.abs().max()), rel=0.1)
        value.normal_()
    ours.load_state_dict(theirs.state_dict())
    query, key, value = torch.randn(3, 5, 8), torch.randn(3, 6, 8), torch.randn(3, 6, 8)
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0])


def test_positions_follow_the_formula():
    height, width, channels = 3, 5, 12
    positions = sine_positions(height, width, channels)
    half = channels // 2
    for i in range(height):
        for j in range(width):
            expected = []
            for place in ((i + 1) / (height + 1e-6), (j + 1) / (width + 1e-6)):
                for k in range(half):
                    phase = place * 2 * math.pi / 10000 ** (2 * (k // 2) / half)
                    expected.append(math.cos(phase) if k % 2 else math.sin(phase))
            torch.testing.assert_close(positions[i, j], torch.tensor(expected))


@torch.no_grad()
def test_earlier_outputs_are_those_of_fewer_layers():
    model, features = decoder(layers=3), torch.randn(2, 6, 4, 4)
    every = model(features)
    for count in (1, 2):
        model.layers = model.layers[:count]
        assert torch.equal(model(features)[-1], every[count - 1])
        model = decoder(layers=3)


@torch.no_grad()
def test_start_values():
    model = decoder(in_channels=64, channels=64, queries=100, feedforward=128, layers=1)
    assert float(model.queries.weight.std()) == pytest.approx(1, rel=0.05)
    weights = [p for p in model.layers.parameters() if p.ndim > 1]
    assert len(weights) == 6
    for weight in weights:
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.99 * bound < weight.abs().max() <= bound
    assert float(model.project.weight.abs().max()) == pytest.approx((3 / 64) ** 0.5, rel=0.01)
    assert not model.project.bias.any()


def test_dropout_is_for_training():
    model, features = decoder(dropout=0.5), torch.randn(1, 6, 4, 4)
    assert torch.equal(model(features)[-1], model(features)[-1])
    model.train()
    assert not torch.equal(model(features)[-1], model(features)[-1])


@each(
    ("options", "message"),
    [
        ({"queries": 0}, "queries is 0; give a number >= 1"),
        ({"layers": 0}, "decoder_layers is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"feedforward": 0}, "feedforward is 0"),
        ({"channels": -4}, "channels is -4"),
        ({"channels": 6}, "channels is 6; give a multiple of 4 and of the 2 heads"),
        ({"heads": 3}, "channels is 8; give a multiple of 4 and of the 3 heads"),
        ({"dropout": 1.0}, r"dropout is 1.0; give a probability in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout is -0.1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        decoder(**options)
