"""SimNet against its formulae; all pairs without forming them equals the pairs themselves."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.each import each
from wsss_zoo.modules import SimNet


def sim_net(channels=6, **options):
    torch.manual_seed(0)
    return SimNet(channels, **options)


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def joined(first, second):
    """Every pair of (..., A, E) and (..., B, E), (..., A, B, 2E)."""
    a, b = first.shape[-2], second.shape[-2]
    left = first.unsqueeze(-2).expand(*first.shape[:-1], b, -1)
    right = second.unsqueeze(-3).expand(*second.shape[:-2], a, *second.shape[-2:])
    return torch.cat([left, right], -1)


def naive(state, pairs, blocks):
    """The specification's 1x1 convolutions on a grid of pairs, BatchNorm by batch statistics."""

    def conv(name, x):
        return F.conv2d(x, state[f"{name}.weight"][..., None, None], state.get(f"{name}.bias"))

    def norm(name, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    for name in ["first", *(f"blocks.{i}" for i in range(blocks - 1))]:
        main = norm(f"{name}.rest.0", conv(f"{name}.enter", pairs)).relu()
        main = norm(f"{name}.rest.3", conv(f"{name}.rest.2", main)).relu()
        skip = conv("first.skip", pairs).relu() if name == "first" else pairs
        pairs = main + skip
    return conv("last", pairs).softmax(1)[:, 1]


@each("blocks", [1, 3])
def test_equals_its_definition(blocks):
    model, grid = sim_net(blocks=blocks).train(), points(2, 12, 4, 5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    probs = model(grid)
    assert probs.shape == (2, 4, 5)
    torch.testing.assert_close(probs, naive(model.state_dict(), grid, blocks))
    rows = grid.movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(model(rows), probs.flatten())


@each("mode", [True, False])
@each("leading", [(), (2,), (2, 3)])
def test_all_pairs_equal_the_pairs_themselves(mode, leading):
    plain = sim_net().train(mode)
    split = copy.deepcopy(plain)
    first = [points(*leading, 4, 6).requires_grad_() for _ in range(2)]
    second = [points(*leading, 5, 6, seed=1).requires_grad_() for _ in range(2)]
    pairs = joined(first[0], second[0])
    expected = plain(pairs.flatten(0, -2)).view(*leading, 4, 5)
    actual = split.all_pairs(first[1], second[1])
    torch.testing.assert_close(actual, expected)
    weight = points(*leading, 4, 5, seed=2)
    (expected * weight).sum().backward()
    (actual * weight).sum().backward()
    for one, other in (first, second):
        torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(plain.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
        assert one.grad.abs().max() > 0
    for one, other in zip(plain.buffers(), split.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_mode_of_batch_norm_is_the_callers():
    model, first, second = sim_net().train(), points(4, 6), points(5, 6, seed=1)
    trained = model.all_pairs(first, second)
    assert not torch.allclose(model.eval().all_pairs(first, second), trained)
    # One training pass has moved the running statistics.
    assert model.first.rest[0].num_batches_tracked == 1


def test_learns_whether_vectors_point_the_same_way():
    model, generator = sim_net().train(), torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    centres = 2 * torch.randn(3, 6, generator=generator)
    for _ in range(60):
        labels = torch.randint(0, 3, (2, 20), generator=generator)
        first, second = centres[labels] + 0.2 * torch.randn(2, 20, 6, generator=generator)
        probs = model.all_pairs(first, second)
        same = labels[0][:, None] == labels[1]
        optimizer.zero_grad()
        F.binary_cross_entropy(probs, same.float()).backward()
        optimizer.step()
    assert ((probs > 0.5) == same).float().mean() > 0.9


def test_size_of_the_papers_network():
    count = sum(parameter.numel() for parameter in SimNet().parameters())
    assert count == pytest.approx(0.60e6, rel=0.02)


def test_bfloat16_autocast_is_finite_and_gives_float32():
    model, first, second = sim_net().train(), points(4, 6), points(5, 6, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        probs = model.all_pairs(first, second)
    assert probs.dtype == torch.float32
    assert ((probs >= 0) & (probs <= 1)).all()
    probs.log().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_never_reads_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        model = SimNet(8)
        probs = model.all_pairs(torch.rand(2, 5, 8), torch.rand(2, 6, 8))
        assert (probs.shape, probs.device.type) == ((2, 5, 6), "cuda")


def test_state_dict_round_trip():
    first, second, pairs = sim_net().eval(), SimNet(6).eval(), points(9, 12)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(pairs), second(pairs))


@each("shape", [(3, 11), (12,), (2, 12, 4), (2, 6, 4, 5)])
def test_pairs_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"pairs have shape .*; give \(P, 12\) or \(N, 12, a, b\)"):
        sim_net()(torch.zeros(shape))


@each("options", [{"channels": 0}, {"blocks": 0}])
def test_no_layer(options):
    with pytest.raises(ValueError, match="is 0; give a number >= 1"):
        SimNet(**options)
