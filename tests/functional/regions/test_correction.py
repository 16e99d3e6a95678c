"""From believed labels to all, against plain loops and closed forms."""

from collections import deque

import pytest
import torch

from tests.each import each
from wsss_zoo.functional import (
    nearest_clean,
    region_loss,
    seed_missing_classes,
    temper,
    write_back,
)


def random_graph(regions, chance, seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = (torch.rand(regions, regions, generator=generator).triu(1) > 1 - chance).nonzero().T
    x = torch.randn(regions, 3, generator=generator)
    labels = torch.randint(0, 4, (regions,), generator=generator)
    labels[torch.rand(regions, generator=generator) < 0.7] = 255
    return labels, x, torch.cat([pairs, pairs.flip(0)], 1)


def hops_from(start, regions, edges):
    distance, queue = {start: 0}, deque([start])
    while queue:
        i = queue.popleft()
        for j in edges[1][edges[0] == i].tolist():
            if j not in distance:
                distance[j] = distance[i] + 1
                queue.append(j)
    return distance


@each("chance", [0.02, 0.05, 0.2])
@each("seed", range(3))
def test_nearest_clean_is_a_breadth_first_search(chance, seed):
    labels, x, edges = random_graph(40, chance, seed)
    sources = [i for i in range(40) if labels[i] != 255]
    expected = []
    for i in range(40):
        hops = hops_from(i, 40, edges)
        keys = {j: (hops.get(j, 10**6), (x[i] - x[j]).norm().item()) for j in sources}
        expected.append(labels[min(keys, key=keys.get)].item())
    assert nearest_clean(labels, x, edges).tolist() == expected
    assert nearest_clean(labels, x.half().double(), edges).dtype == torch.int64


def test_nearest_clean_without_edges_or_labels():
    none = torch.zeros(2, 0, dtype=torch.int64)
    x = torch.tensor([[0.0], [5.0], [4.0]])
    assert nearest_clean(torch.tensor([1, 2, 255]), x, none).tolist() == [1, 2, 2]
    nothing = torch.full((3,), 255)
    assert torch.equal(nearest_clean(nothing, x, none), nothing)
    assert nearest_clean(torch.tensor([7]), x[:1], none).tolist() == [7]


def test_loss_is_the_mean_over_labelled_regions():
    torch.manual_seed(0)
    logits = torch.randn(6, 3, requires_grad=True)
    labels = torch.tensor([0, 255, 2, 0, 0, 255])
    terms = {i: -logits[i].log_softmax(0)[labels[i]] for i in (0, 2, 3, 4)}
    loss = region_loss(logits, labels)
    torch.testing.assert_close(loss, sum(terms.values()) / 4)
    by_class = ((terms[0] + terms[3] + terms[4]) / 3 + terms[2]) / 2
    torch.testing.assert_close(region_loss(logits, labels, balance=True), by_class)
    loss.backward()
    assert (logits.grad[[1, 5]] == 0).all()
    alone = torch.cat([logits, logits[:4]]).detach()
    unknown = torch.cat([labels, torch.full((4,), 255)])
    torch.testing.assert_close(region_loss(alone, unknown), loss.detach())


@each("balance", [False, True])
def test_loss_without_labels_and_with_classes_ruled_out(balance):
    scores = torch.randn(5, 3, requires_grad=True)
    loss = region_loss(scores, torch.full((5,), 255), balance)
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()
    ruled = scores.masked_fill(torch.tensor([False, False, True]), -torch.inf)
    loss = region_loss(ruled, torch.tensor([0, 1, 255, 255, 1]), balance)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
    half = region_loss(scores.detach().half(), torch.tensor([0, 1, 2, 2, 1]), balance)
    assert half.dtype == torch.float32


def test_seeds_of_missing_classes():
    # Tags of classes 1, 2 and 3; 1 has a region, 2 has candidates, 3 has none.
    labels = torch.tensor([0, 1, 255, 255, 255, 0])
    counts = torch.tensor(
        [
            *([9, 0, 0, 0, 0], [0, 9, 0, 0, 0], [1, 0, 8, 0, 0]),
            *([0, 1, 5, 3, 0], [0, 0, 0, 0, 0], [1, 0, 9, 0, 0]),
        ]
    )
    tags = torch.tensor([1.0, 1.0, 1.0, 0.0])
    loss = torch.tensor([0.1, 0.1, 3.0, 2.0, torch.inf, 0.5])
    assert seed_missing_classes(labels, counts, loss, tags).tolist() == [0, 1, 255, 2, 255, 0]
    endless = torch.full((6,), torch.inf)
    assert seed_missing_classes(labels, counts, endless, tags).tolist() == [0, 1, 2, 255, 255, 0]
    none = torch.zeros(4)
    assert torch.equal(seed_missing_classes(labels, counts, loss, none), labels)
    # Only classes that are tagged: class 4 is not.
    other = counts.roll(2, 1)
    assert 4 not in seed_missing_classes(labels, other, loss, tags).tolist()


@pytest.mark.parametrize("rule", ["all", "keep_nodes", "keep_pixels"])
def test_write_back_is_a_loop_over_pixels(rule):
    torch.manual_seed(0)
    segments = torch.randint(0, 6, (9, 11))
    label = torch.randint(0, 4, (9, 11))
    label[torch.rand(9, 11) < 0.2] = 255
    clean = torch.rand(9, 11) < 0.5
    nodes, votes = torch.randint(0, 4, (6,)), torch.tensor([255, 1, 2, 255, 3, 0])
    found = write_back(nodes, votes, segments, label, clean, rule)
    for y in range(9):
        for x in range(11):
            node = segments[y, x]
            expected = nodes[node]
            if rule != "all" and votes[node] != 255:
                expected = votes[node]
            if rule == "keep_pixels" and clean[y, x] and label[y, x] != 255:
                expected = label[y, x]
            assert found[y, x] == expected


def test_unknown_rule():
    nodes, maps = torch.zeros(1, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="write_back is 'some'; give 'all'"):
        write_back(nodes, nodes, maps, maps, maps.bool(), "some")


@each("classes", [2, 5])
def test_temper_caps_and_keeps_order_and_sum(classes):
    torch.manual_seed(0)
    # In single precision the smallest become equal.
    probs = (4 * torch.randn(classes, 30, 4).double()).softmax(0)
    found = temper(probs, 0.7)
    torch.testing.assert_close(found.sum(0), torch.ones(30, 4).double())
    assert found.amax(0).max() <= 0.7 + 1e-6
    assert torch.equal(found.argsort(0), probs.argsort(0))
    low = probs.amax(0) <= 0.7
    torch.testing.assert_close(found[:, low], probs[:, low])
    torch.testing.assert_close(found.amax(0)[~low], torch.full_like(found.amax(0)[~low], 0.7))
    torch.testing.assert_close(temper(probs, 1.0), probs)


def test_temper_of_the_uniform_and_of_one_class():
    uniform = torch.full((4, 3), 0.25)
    torch.testing.assert_close(temper(uniform, 0.9), uniform)
    assert temper(torch.ones(1, 3), 0.9).tolist() == [[1, 1, 1]]


@each("cap", [0.2, 0.25, 1.1])
def test_cap_out_of_range(cap):
    with pytest.raises(ValueError, match=r"for 4 classes; give a probability in \(0.25, 1\]"):
        temper(torch.full((4, 3), 0.25), cap)
