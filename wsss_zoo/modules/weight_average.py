"""Network whose weights are the running average of another network's."""

from copy import deepcopy
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """Exponential moving average of a network, for teachers and evaluation.

    Args:
        network: The network to follow; it is copied.
        decay: Share of the old average kept by a step, in [0, 1).
        buffers: Handling of the BatchNorm statistics: "average" them like the weights, "copy" the
            network's, or "own": keep those of the average's own passes in train mode.

    Tarvainen & Valpola, "Mean teachers are better role models", NIPS 2017: in step t the decay is
    min(1 - 1 / (t + 1), decay), so that the initial weights are forgotten early.
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float,
        buffers: Literal["average", "copy", "own"] = "average",
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; give a share in [0, 1)")
        self.decay, self.buffers_from = decay, buffers
        # Cloned by hand, because deepcopy fails on the fake tensors of device tests.
        tensors = chain(network.parameters(), network.buffers())
        memo = {id(tensor): _clone(tensor) for tensor in tensors}
        self.network = deepcopy(network, memo).requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Run the averaged network in its current mode, without gradients."""
        with torch.no_grad():
            result: Tensor = self.network(image)
        return result

    def train(self, mode: bool = True) -> "WeightAverage":
        """Keep the average in eval mode, unless its statistics are its own."""
        return super().train(mode and self.buffers_from == "own")

    @torch.no_grad()
    def reset(self, network: nn.Module) -> None:
        """Restart from a network's weights and buffers."""
        self.network.load_state_dict(network.state_dict())

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average after optimiser step number `step`, counted from 1."""
        weight = 1 - min(1 - 1 / (step + 1), self.decay)
        averaged: list[tuple[Tensor, Tensor]] = list(
            zip(self.network.parameters(), network.parameters(), strict=True)
        )
        copied: list[tuple[Tensor, Tensor]] = []
        if self.buffers_from != "own":
            for pair in zip(self.network.buffers(), network.buffers(), strict=True):
                average = self.buffers_from == "average" and pair[0].is_floating_point()
                (averaged if average else copied).append(pair)
        targets, sources = zip(*averaged, strict=True)
        torch._foreach_lerp_(targets, sources, weight)
        for target, source in copied:
            target.copy_(source)


def _clone(tensor: Tensor) -> Tensor:
    clone = tensor.detach().clone()
    return nn.Parameter(clone) if isinstance(tensor, nn.Parameter) else clone
