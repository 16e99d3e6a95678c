"""SimNet: a classifier of pixel pairs as same or different class, from their embeddings."""

import torch.nn.functional as F
from torch import Tensor, nn


class SimNet(nn.Module):
    """Probability that both pixels of a pair have the same class.

    Residual blocks act on the 2E channels of a pair. The result is the second entry of a softmax
    over two logits. A pair is one sample of the BatchNorms, whose mode the caller sets. The paper's
    teacher pass is in training mode as well.

    Args:
        channels: Channels E of a pixel's embedding, and of the blocks, at least 1.
        blocks: Number of residual blocks, at least 1.

    Chen et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer" (SimFormer), NeurIPS
    2022. The paper's 1x1 convolutions on a grid of pairs are linear layers in this implementation.
    The network is not symmetric in the two pixels. Initial values are torch's own.
    """

    def __init__(self, channels: int = 256, blocks: int = 3) -> None:
        super().__init__()
        for name, value in {"channels": channels, "blocks": blocks}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give a number >= 1")
        self.first = SimBlock(2 * channels, channels)
        self.blocks = nn.Sequential(*(SimBlock(channels, channels) for _ in range(blocks - 1)))
        self.last = nn.Linear(channels, 2)

    def forward(self, pairs: Tensor) -> Tensor:
        """Compute probabilities in [0, 1], float32, of pairs of concatenated embeddings.

        Args:
            pairs: (P, 2E), which gives (P,), or a grid (N, 2E, a, b), which gives (N, a, b).
        """
        channels = self.first.enter.in_features
        if pairs.ndim not in (2, 4) or pairs.shape[1] != channels:
            raise ValueError(
                f"pairs have shape {tuple(pairs.shape)}; give (P, {channels}) or "
                f"(N, {channels}, a, b)"
            )
        rows = pairs.movedim(1, -1)
        probs = self._finish(self.first(rows.flatten(0, -2)))
        return probs.view(rows.shape[:-1])

    def all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute probabilities (..., A, B), float32, of every pair of two sets of pixels.

        Equals `forward` of all pairs, but the layers that read pairs are applied per pixel and
        added: ``W [f_i; f_j] = W_a f_i + W_b f_j``. The pairs' embeddings are never formed. The
        sets are embeddings (..., A, E) and (..., B, E).
        """
        probs = self._finish(self.first.all_pairs(first, second))
        return probs.view(*first.shape[:-1], second.shape[-2])

    def _finish(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.last(self.blocks(hidden))
        return logits.float().softmax(-1)[:, 1]


class SimBlock(nn.Module):
    """Residual block: two linear layers with BatchNorm and ReLU, nothing after the sum.

    If the numbers of channels differ, the skip connection has a linear layer and ReLU.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.enter = nn.Linear(in_channels, out_channels, bias=False)
        self.rest = nn.Sequential(
            *(nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)),
            nn.Linear(out_channels, out_channels, bias=False),
            *(nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)),
        )
        same = in_channels == out_channels
        self.skip = None if same else nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (P, in_channels) to (P, out_channels)."""
        skip = x if self.skip is None else self.skip(x).relu()
        return self._sum(self.enter(x), skip)

    def all_pairs(self, first: Tensor, second: Tensor) -> Tensor:
        """Map all pairs of (..., A, E) and (..., B, E) to rows; needs different widths."""
        assert self.skip is not None
        skip = _of_pairs(self.skip, first, second).relu()
        return self._sum(_of_pairs(self.enter, first, second), skip)

    def _sum(self, entered: Tensor, skip: Tensor) -> Tensor:
        # Not in place: the ReLU's backward pass needs its own output.
        result: Tensor = self.rest(entered) + skip
        return result


def _of_pairs(layer: nn.Linear, first: Tensor, second: Tensor) -> Tensor:
    """Apply the layer to all pairs of (..., A, E) and (..., B, E), in rows (... A B, D)."""
    weight_first, weight_second = layer.weight.chunk(2, dim=1)
    left = F.linear(first, weight_first, layer.bias)
    right = F.linear(second, weight_second)
    return (left.unsqueeze(-2) + right.unsqueeze(-3)).flatten(0, -2)
