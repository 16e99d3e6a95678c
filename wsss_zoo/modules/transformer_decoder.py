"""DETR's transformer decoder: learned queries attend to a feature map and to each other."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.modules.pixel_decoder import init_conv

_TEMPERATURE = 10_000.0


class TransformerDecoder(nn.Module):
    """Transformer decoder that returns the queries after each layer; it has no encoder.

    A 1x1 convolution projects the feature map. `sine_positions` are added to it as keys. The
    learned embeddings are added to the queries wherever these are queries or keys. The queries
    start at 0. All layers share one final LayerNorm.

    Args:
        in_channels: Channels D of the feature map.
        channels: Channels E of the queries, a multiple of 4 and of `heads`.
        queries: Number of queries Q, at least 1.
        layers: Number of layers L, at least 1.
        heads: Number of attention heads, at least 1.
        feedforward: Hidden channels of the feed-forward parts, at least 1.
        dropout: Probability in [0, 1), in attention, feed-forward and before each addition.

    Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020, as in
    MaskFormer: Xavier-uniform layers, embeddings from N(0, 1). The first layer's queries have equal
    values, so its weights that compare queries with each other have gradient 0, as in DETR.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        queries: int = 100,
        layers: int = 6,
        heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"queries": queries, "decoder_layers": layers, "heads": heads}
        for name, value in (sizes | {"feedforward": feedforward, "channels": channels}).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give a number >= 1")
        if channels % 4 or channels % heads:
            raise ValueError(
                f"channels is {channels}; give a multiple of 4 and of the {heads} heads"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; give a probability in [0, 1)")
        self.project = nn.Conv2d(in_channels, channels, 1)
        init_conv(self.project)
        self.queries = nn.Embedding(queries, channels)
        self.layers = nn.ModuleList(
            DecoderLayer(channels, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Compute the queries (N, Q, E) after each layer from a feature map (N, D, h, w)."""
        projected = self.project(features)
        memory = projected.flatten(2).transpose(1, 2)
        height, width = projected.shape[-2:]
        positions = sine_positions(height, width, memory.shape[-1], memory.device)
        keys = memory + positions.flatten(0, 1)
        embeddings = self.queries.weight.expand(memory.shape[0], -1, -1)
        current, outputs = torch.zeros_like(embeddings), []
        for layer in self.layers:
            current = layer(current, embeddings, memory, keys)
            outputs.append(self.norm(current))
        return outputs


class DecoderLayer(nn.Module):
    """Decoder layer: self-attention, cross-attention and feed-forward with post-norm."""

    def __init__(self, channels: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(channels, heads, dropout)
        self.cross_attention = Attention(channels, heads, dropout)
        self.feedforward = nn.Sequential(
            *(nn.Linear(channels, feedforward), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(feedforward, channels),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, queries: Tensor, embeddings: Tensor, memory: Tensor, keys: Tensor) -> Tensor:
        """Compute the queries (N, Q, E) after this layer from those before it.

        The embeddings (N, Q, E) are added to queries for comparisons. The keys (N, h w, E) are the
        memory, which holds the feature map's pixels, with positions.
        """
        placed = queries + embeddings
        looked = self.self_attention(placed, placed, queries)
        queries = self.norms[0](queries + self.dropout(looked))
        looked = self.cross_attention(queries + embeddings, keys, memory)
        queries = self.norms[1](queries + self.dropout(looked))
        result: Tensor = self.norms[2](queries + self.dropout(self.feedforward(queries)))
        return result


class Attention(nn.Module):
    """Multi-head attention with parameters and initialisation of torch's ``MultiheadAttention``.

    Unlike torch's module, it lets torch.export keep the batch size dynamic.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with queries (N, A, E) to keys and values (N, B, E); the result is (N, A, E)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            self._split(F.linear(x, weight, bias))
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        dropout = self.dropout if self.training else 0.0
        looked = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        result: Tensor = self.out_proj(looked.transpose(1, 2).flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        """Split into heads: (N, A, E) to (N, heads, A, E / heads)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


def sine_positions(
    height: int, width: int, channels: int, device: torch.device | None = None
) -> Tensor:
    """Encode the pixels' positions by sines and cosines, (height, width, channels) float32.

    The first half of the channels encodes y, the second x. Row i of h is at
    ``y = 2 pi (i + 1) / (h + 1e-6)``. Channels 2k and 2k + 1 of its half D are the sine and cosine
    of ``y / 10000^(2k / D)``.

    The channels are a multiple of 4. Carion et al. (DETR), ECCV 2020, without padding masks.

    >>> [round(value, 3) for value in sine_positions(1, 4, 4)[0, 0].tolist()]
    [-0.0, 1.0, 1.0, 0.0]
    """
    rows = _axis(height, channels // 2, device)[:, None].expand(-1, width, -1)
    columns = _axis(width, channels // 2, device)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], 2)


def _axis(length: int, channels: int, device: torch.device | None) -> Tensor:
    place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    angle = place / (length + 1e-6) * (2 * math.pi)
    exponent = torch.arange(0, channels, 2, dtype=torch.float32, device=device) / channels
    phase = angle[:, None] / _TEMPERATURE**exponent
    return torch.stack([phase.sin(), phase.cos()], 2).flatten(1)
