"""A region network for a single image, trained and used on the spot."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wsss_zoo.functional import region_loss
from wsss_zoo.modules import RegionNetwork


def fit_to_image(
    make_network: Callable[[], RegionNetwork],
    make_optimizer: Callable[[RegionNetwork], torch.optim.Optimizer],
    x: Tensor,
    edge_index: Tensor,
    node_labels: Tensor,
    steps: int,
    seed: int,
    balance: bool = False,
) -> Tensor:
    """Train a new network on the labelled regions of an image, and predict all regions.

    Trains within ``torch.inference_mode`` too, where Lightning predicts. Weights and dropout depend
    on the seed alone; torch's generators keep their states.

    Args:
        make_network: Makes the network, on any device.
        make_optimizer: Makes its optimiser; the learning rate stays as it is.
        x: Features, (V, D).
        edge_index: Neighbours, both directions, (2, E).
        node_labels: Class of each region, 255 where it has none, (V,) int64. Classes that do not
            occur are ruled out.
        steps: Steps, each over all regions.
        seed: Seed of weights and dropout.
        balance: Count every class alike; see `region_loss`.

    Returns:
        Probabilities (V, C), float32.
    """
    devices = [x.device] if x.device.type == "cuda" else []
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(devices),
        torch.autocast(x.device.type, enabled=False),
    ):
        # Autograd takes no tensor that was made in inference mode.
        x, edge_index, node_labels = x.clone(), edge_index.clone(), node_labels.clone()
        torch.manual_seed(seed)
        network = make_network().train().to(x.device)
        optimizer = make_optimizer(network)
        absent = absent_classes(node_labels, network.num_classes)
        for _ in range(steps):
            logits = network(x, edge_index)
            loss = region_loss(logits.masked_fill(absent, -torch.inf), node_labels, balance)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        probs: Tensor = network.eval()(x, edge_index).masked_fill(absent, -torch.inf).softmax(1)
    return probs


def absent_classes(node_labels: Tensor, num_classes: int) -> Tensor:
    """Find the classes that no region has, (C,) bool; 255 in the labels (V,) is no class."""
    occurs = torch.zeros(256, dtype=torch.bool, device=node_labels.device)
    return ~occurs.index_fill(0, node_labels, True)[:num_classes]


def image_seed(seed: int, image_id: str) -> int:
    """Derive the seed of an image, whatever images come before it and on whatever rank."""
    digest = hashlib.sha256(image_id.encode()).digest()
    sequence = np.random.SeedSequence([seed, int.from_bytes(digest[:8], "big")])
    return int(sequence.generate_state(1)[0])
