"""Losses of pairs of pixels, against loops over pairs."""

import math

import pytest
import torch

from tests.each import each
from tests.methods.weak_shot_batches import IS_BASE, NOVEL, K, leaves, masks, proposals
from wsss_zoo.functional import sample_points, shared_class_regions
from wsss_zoo.methods.weak_shot.pair_losses import distillation_loss, partners, sim_net_loss
from wsss_zoo.modules import SimNet

E, POINTS = 4, 10


def sim_net():
    torch.manual_seed(7)
    return SimNet(E).train()


def fresh_queue(calls=25):
    queue = torch.zeros(calls, 2)
    queue[-1] = 1
    return queue


def batch(novel=((3,), (3, 4), (3, 4), (4,))):
    """Two images and their two references: labels, where valid, tags of the foreground classes."""
    mask, valid, tags = masks(4, novel=novel)
    return mask[:, ::4, ::4], valid[:, ::4, ::4], tags[:, 1:]


def all_pairs(network, features, other):
    """Similarities (2 N, P, P) of an image's points (rows) and its partner's, one row each."""
    N, P = features.shape[:2]
    rows = [
        torch.cat([features[n, i], features[other[n], j]])
        for n in range(N)
        for i in range(P)
        for j in range(P)
    ]
    return network(torch.stack(rows)).view(N, P, P)


def naive_sim_net_loss(network, embeddings, labels, valid, queue, points):
    regions = torch.cat(shared_class_regions(labels[:2], labels[2:], IS_BASE))
    inside = sample_points(regions, points * 4 // 5)
    chosen = torch.cat([inside, sample_points(valid & ~regions, points - inside.shape[1])], 1)
    flat = embeddings.flatten(2)
    features = torch.stack([flat[n][:, chosen[n]].T for n in range(4)])
    classes = [labels[n].flatten()[chosen[n]].tolist() for n in range(4)]
    other = [2, 3, 0, 1]
    similarity = all_pairs(network, features, other)
    counts, terms = [0, 0], []
    for n in range(4):
        for i, one in enumerate(classes[n]):
            for j, two in enumerate(classes[other[n]]):
                if i % 5 == 0 and j % 5 == 0:
                    counts[one != two] += 1
                if any(c < K and IS_BASE[c] for c in (one, two)):
                    s = similarity[n, i, j]
                    terms.append((one == two, -s.log() if one == two else -(1 - s).log()))
    queue = [*queue.tolist()[1:], [float(value) for value in counts]]
    positives, negatives = (sum(row[k] for row in queue) for k in (0, 1))
    weights = {True: negatives / (positives + negatives)}
    weights[False] = positives / (positives + negatives)
    return sum(weights[same] * term for same, term in terms) / len(terms), queue


def test_sim_net_loss_equals_a_loop_over_pairs():
    (labels, valid, _), given, queue = batch(), proposals(4), fresh_queue()
    networks = sim_net(), sim_net()
    for _ in range(3):
        torch.manual_seed(3)
        expected, new_queue = naive_sim_net_loss(
            networks[0], given.pixel_embeddings, labels, valid, queue, POINTS
        )
        torch.manual_seed(3)
        loss, queue = sim_net_loss(
            networks[1], given.pixel_embeddings, labels, valid, IS_BASE, queue, POINTS
        )
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
        assert queue.tolist() == new_queue


def test_the_queue_is_first_in_first_out():
    (labels, valid, _), given, queue = batch(), proposals(4), fresh_queue(3)
    entries = [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    for _ in range(4):
        assert queue.tolist() == entries[-3:]
        embeddings = given.pixel_embeddings
        _, queue = sim_net_loss(sim_net(), embeddings, labels, valid, IS_BASE, queue, POINTS)
        entries.append(queue[-1].tolist())
        # Every fifth row and column of four grids of pairs.
        assert sum(entries[-1]) == 4 * math.ceil(POINTS / 5) ** 2


def test_only_the_similarity_network_learns_from_its_loss():
    (labels, valid, _), given, network = batch(), leaves(proposals(4)), sim_net()
    embeddings = given.pixel_embeddings.detach()
    loss, queue = sim_net_loss(network, embeddings, labels, valid, IS_BASE, fresh_queue(), POINTS)
    loss.backward()
    assert all(parameter.grad.any() for parameter in network.parameters())
    assert given.pixel_embeddings.grad is None
    assert not queue.requires_grad


def naive_distillation(network, given, labels, tags, points, kind, pairing):
    base = torch.tensor([[[c < K and bool(IS_BASE[c]) for c in row] for row in image]
                         for image in labels.tolist()])  # fmt: skip
    chosen = sample_points(~base, points)
    flat = given.pixel_embeddings.flatten(2).detach()
    features = torch.stack([flat[n][:, chosen[n]].T for n in range(4)])
    other = [2, 3, 0, 1]
    teacher = all_pairs(network, features, other).detach()
    probs = given.class_logits[:, -1].softmax(-1)
    sigmoids = given.mask_logits[:, -1].sigmoid().flatten(2)

    def scores(n, point):
        return (probs[n][:, list(NOVEL)] * sigmoids[n][:, point, None]).sum(0)

    total = 0
    for n in range(4):
        if not (tags[n] * tags[other[n]]).any():
            continue
        partner = other[n] if pairing == "cross_image" else n
        for i in range(points):
            for j in range(points):
                one, two = scores(n, chosen[n, i]), scores(partner, chosen[partner, j])
                s, t = (one @ two / (one.norm() * two.norm())).relu(), float(teacher[n, i, j])
                if kind == "cce":
                    term = -max(t - 0.5, 0) * (1 + s).log() - max(0.5 - t, 0) * (2 - s).log()
                elif kind == "ce":
                    s, t = s.clamp(0.01, 0.99), min(max(t, 0.01), 0.99)
                    term = -t * s.log() - (1 - t) * (1 - s).log()
                else:
                    term = -(t - 0.5) * s
                total = total + term / points**2
    return total / 4


@each("pairing", ["cross_image", "code"])
@each("kind", ["cce", "ce", "b0.5"])
@each("novel", [((3,), (3, 4), (3, 4), (4,)), ((3,), (3, 4), (4,), (3,))])
def test_distillation_equals_a_loop_over_pairs(pairing, kind, novel):
    """In the second batch the first pair has no novel class in common: it counts 0."""
    labels, _, tags = batch(novel)
    first, second = leaves(proposals(4)), leaves(proposals(4))
    networks = sim_net(), sim_net()
    torch.manual_seed(3)
    expected = naive_distillation(networks[0], first, labels, tags, 6, kind, pairing)
    torch.manual_seed(3)
    loss = distillation_loss(networks[1], second, labels, tags, IS_BASE, 6, kind, pairing)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    expected.backward()
    loss.backward()
    for name in ("class_logits", "mask_logits"):
        wanted, found = (getattr(given, name).grad for given in (first, second))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-7)
        # The last layer alone.
        assert not found[:, 0].any()
        if novel[2] == (4,):
            assert not found[0].any()


def test_the_teacher_learns_nothing_but_statistics():
    (labels, _, tags), given, network = batch(), leaves(proposals(4)), sim_net()
    before = network.first.rest[0].running_mean.clone()
    distillation_loss(
        network, given, labels, tags, IS_BASE, POINTS, "cce", "cross_image"
    ).backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert given.pixel_embeddings.grad is None
    assert not torch.equal(network.first.rest[0].running_mean, before)


@pytest.mark.parametrize("pairing", ["cross_image", "code"])
def test_no_novel_class_in_common_is_0_with_a_gradient(pairing):
    labels, _, tags = batch(((3,), (4,), (4,), ()))
    given = leaves(proposals(4))
    loss = distillation_loss(sim_net(), given, labels, tags, IS_BASE, POINTS, "ce", pairing)
    loss.backward()
    assert loss.item() == 0
    assert not given.mask_logits.grad.any()


def test_what_the_base_classes_score_is_nothing_to_the_student():
    """A query of a base class alone, however it is placed, changes no similarity."""
    labels, _, tags = batch()
    given = proposals(4)
    given.class_logits[:, :, 0] = torch.tensor([0.0, 200.0, 0.0, 0.0, 0.0, 0.0])
    losses = []
    for value in (-5.0, 5.0):
        given.mask_logits[:, :, 0] = value
        torch.manual_seed(3)
        network = sim_net()
        losses.append(
            distillation_loss(network, given, labels, tags, IS_BASE, 6, "ce", "cross_image")
        )
    torch.testing.assert_close(*losses)


def test_more_points_than_pixels():
    (labels, valid, tags), given = batch(), proposals(4)
    points = 10 * labels[0].numel()
    loss, queue = sim_net_loss(
        sim_net(), given.pixel_embeddings, labels, valid, IS_BASE, fresh_queue(), points
    )
    assert loss.isfinite()
    assert queue[-1].sum() == 4 * math.ceil(labels[0].numel() / 5) ** 2
    assert distillation_loss(
        sim_net(), given, labels, tags, IS_BASE, points, "cce", "code"
    ).isfinite()


def test_a_single_pixel():
    labels, valid, tags = (part[..., :1, :1] if part.ndim == 3 else part for part in batch())
    given = proposals(4, h=1, w=1)
    loss, _ = sim_net_loss(
        sim_net(), given.pixel_embeddings, labels, valid, IS_BASE, fresh_queue(), POINTS
    )
    assert loss.isfinite()
    assert distillation_loss(
        sim_net(), given, labels, tags, IS_BASE, POINTS, "cce", "cross_image"
    ).isfinite()


@pytest.mark.parametrize("case", ["no base class in common", "no base class at all"])
def test_images_without_common_base_class(case):
    (labels, valid, _), given, network = batch(), proposals(4), sim_net()
    labels[:2] = torch.where(labels[:2] < K, 0, 255)
    labels[2:] = torch.where(labels[2:] < K, 2, 255)
    if case == "no base class at all":
        labels.fill_(255)
    embeddings = given.pixel_embeddings
    loss, queue = sim_net_loss(network, embeddings, labels, valid, IS_BASE, fresh_queue(), POINTS)
    loss.backward()
    if case == "no base class at all":
        # All pairs are of 255: counted, but none of them is known.
        assert loss.item() == 0
        assert queue[-1, 1] == 0
        assert not any(parameter.grad.any() for parameter in network.parameters())
    else:
        # 255 and 255 count as the same, known are but pairs of two classes or with 255.
        assert loss > 0
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_an_image_paired_with_itself():
    """The only image of a data set is its own reference: points of its own are compared."""
    (labels, valid, tags), given = batch(), proposals(4)
    labels, valid, tags = (torch.cat([part[:2]] * 2) for part in (labels, valid, tags))
    twice = leaves(type(given)(*(torch.cat([value[:2]] * 2) for value in given)))
    loss, _ = sim_net_loss(
        sim_net(), twice.pixel_embeddings.detach(), labels, valid, IS_BASE, fresh_queue(), POINTS
    )
    taught = distillation_loss(
        sim_net(), twice, labels, tags, IS_BASE, POINTS, "cce", "cross_image"
    )
    (loss + taught).backward()
    assert loss > 0
    assert taught < 0
    assert twice.mask_logits.grad.isfinite().all()


def test_partners_are_the_other_half():
    assert partners(torch.arange(6)).tolist() == [3, 4, 5, 0, 1, 2]
