"""RegionNetwork: GAT and GCN as dense matrices, edges that do not count, float32."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import wsss_zoo
from tests.each import each
from wsss_zoo.modules import RegionNetwork
from wsss_zoo.modules.region_network import Standardize

LAYERS = ["gat", "gcn"]


def graph(regions=9, channels=5, seed=0):
    """Features, edges in both directions in any order, and which of them count."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(regions, regions, generator=generator).triu(1) > 0.6
    pairs = upper.nonzero().T
    edges = torch.cat([pairs, pairs.flip(0)], 1)
    order = torch.randperm(edges.shape[1], generator=generator)
    kept = (torch.rand(pairs.shape[1], generator=generator) > 0.3).repeat(2)
    x = 3 + 2 * torch.randn(regions, channels, generator=generator)
    return x, edges[:, order], kept[order]


def network(layer, channels=5, seed=0, **options):
    torch.manual_seed(seed)
    result = RegionNetwork(channels, 4, layer, hidden=3, heads=2, **options).eval()
    for parameter in result.parameters():
        # torch_geometric's biases begin at 0, which would hide them.
        torch.nn.init.normal_(parameter)
    return result


def neighbours(x, edges):
    matrix = torch.eye(len(x))
    matrix[edges[0], edges[1]] = 1
    return matrix


def dense_gat_layer(layer, x, adjacency):
    heads, channels = layer.heads, layer.out_channels
    results = []
    for k in range(heads):
        w = layer.lin.weight[k * channels : (k + 1) * channels]
        a = torch.cat([layer.att_dst[0, k], layer.att_src[0, k]])
        z = x @ w.T
        out = torch.zeros_like(z)
        for i in range(len(x)):
            near = adjacency[i].nonzero().flatten().tolist()
            e = torch.stack([F.leaky_relu(a @ torch.cat([z[i], z[j]]), 0.2) for j in near])
            alpha = e.exp() / e.exp().sum()
            out[i] = sum(alpha[n] * z[j] for n, j in enumerate(near))
        results.append(out)
    return torch.cat(results, 1) + layer.bias


def dense_gcn_layer(layer, x, adjacency):
    scale = torch.diag(adjacency.sum(1) ** -0.5)
    return scale @ adjacency @ scale @ x @ layer.lin.weight.T + layer.bias


def dense(net, x, edges):
    adjacency = neighbours(x, edges)
    if hasattr(net.first, "heads"):
        hidden = F.elu(dense_gat_layer(net.first, x, adjacency))
        return dense_gat_layer(net.second, hidden, adjacency)
    hidden = F.relu(dense_gcn_layer(net.first, x, adjacency))
    return dense_gcn_layer(net.second, hidden, adjacency)


@pytest.mark.parametrize("layer", LAYERS)
def test_both_layers_are_their_formulae(layer):
    net, (x, edges, _) = network(layer), graph()
    with torch.no_grad():
        torch.testing.assert_close(net(x, edges), dense(net, x, edges), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_edges_that_do_not_count(layer):
    net, (x, edges, kept) = network(layer), graph()
    with torch.no_grad():
        torch.testing.assert_close(net(x, edges, kept), net(x, edges[:, kept]))
        none = torch.zeros_like(kept)
        torch.testing.assert_close(net(x, edges, none), dense(net, x, edges[:, none]))
        assert not torch.allclose(net(x, edges, kept), net(x, edges))


@pytest.mark.parametrize("layer", LAYERS)
def test_graphs_of_a_batch_do_not_see_each_other(layer):
    net, (x, edges, _), (y, others, _) = network(layer), graph(), graph(6, seed=1)
    with torch.no_grad():
        both = net(torch.cat([x, y]), torch.cat([edges, others + len(x)], 1))
        torch.testing.assert_close(both, torch.cat([net(x, edges), net(y, others)]))


@pytest.mark.parametrize("layer", LAYERS)
def test_one_region_without_neighbours(layer):
    net = network(layer)
    x, edges = torch.randn(1, 5), torch.zeros(2, 0, dtype=torch.int64)
    with torch.no_grad():
        torch.testing.assert_close(net(x, edges), dense(net, x, edges))
    loss = net.train()(x, edges).square().sum()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("layer", LAYERS)
def test_training_drops_and_standardises(layer):
    net, (x, edges, _) = network(layer, dropout=0.5), graph(40)
    net.train()
    assert not torch.equal(net(x, edges), net(x, edges))
    net.eval()
    standard = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        expected = dense(net, standard, edges)
        torch.testing.assert_close(net(x, edges), expected, rtol=1e-4, atol=1e-4)


def test_extra_channels_keep_their_scale():
    net, (x, edges, _) = network("gcn", channels=3, extra_channels=2, dropout=0), graph()
    net.train()(x, edges)
    net.eval()
    features = x[:, :3]
    standard = (features - features.mean(0)) / (features.var(0, correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        expected = dense(net, torch.cat([standard, x[:, 3:]], 1), edges)
        torch.testing.assert_close(net(x, edges), expected, rtol=1e-4, atol=1e-4)


def test_statistics_are_those_of_all_rows():
    generator = torch.Generator().manual_seed(0)
    rows = 100 + torch.randn(60, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.0])
    standardize = Standardize(3)
    assert torch.equal(standardize.eval()(rows), rows)
    standardize.train()
    for part in rows.split([1, 30, 0, 29]):
        last = standardize(part)
        assert torch.isfinite(last).all()
    torch.testing.assert_close(standardize.mean, rows.mean(0))
    torch.testing.assert_close(standardize.variance, rows.var(0, correction=0), atol=1e-3, rtol=0)
    before = standardize.mean.clone()
    standardize.eval()(rows[:5] + 9)
    assert torch.equal(standardize.mean, before)
    again = Standardize(3)
    again.load_state_dict(standardize.state_dict())
    assert torch.equal(again.eval()(rows), standardize(rows))


@pytest.mark.parametrize("layer", LAYERS)
@each("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_and_autocast_are_computed_in_float32(layer, dtype):
    net, (x, edges, _) = network(layer), graph()
    half = x.to(dtype)
    with torch.no_grad():
        expected = net(half.float(), edges)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(half, edges)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)


@each(
    ("options", "message"),
    [
        ({"layer": "gin"}, "layer is 'gin'; give 'gat' or 'gcn'"),
        ({"heads": 0}, "heads is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dropout": 1.0}, r"dropout is 1.0; give a probability in \[0, 1\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        RegionNetwork(**({"in_channels": 5, "num_classes": 3} | options))


def test_other_features():
    net, (x, edges, _) = network("gat"), graph()
    with pytest.raises(ValueError, match=r"shape \(9, 4\), this network was made for \(V, 5\)"):
        net(x[:, :4], edges)


def test_torch_geometric_is_imported_only_when_it_is_used():
    """Its import takes seconds. Imports inside of functions are indented."""
    late = r"^(?:import|from) (?:torch_geometric|wsss_zoo\.data\.graphs).*"
    for path in Path(wsss_zoo.__path__[0]).rglob("*.py"):
        if path.name != "graphs.py":
            found = re.findall(late, path.read_text(), re.MULTILINE)
            assert not found, f"{path}: import it where it is used"
