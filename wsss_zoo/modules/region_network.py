"""Graph attention or graph convolution in two layers over the regions of images."""

import warnings
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Literal["gat", "gcn"]


class RegionNetwork(nn.Module):
    """Class scores of regions from their own and their neighbours' features.

    * ``gat``: ``e_ij = LeakyReLU_0.2(a^T [W x_i || W x_j])`` and ``alpha_ij``, its softmax over the
      neighbours j of i and i itself. The first layer concatenates ``heads`` heads of ``hidden``
      channels, each ``ELU(sum_j alpha_ij W x_j)``. The second layer is one head of C channels
      without ELU. Dropout also acts on the attention.
    * ``gcn``: ``A^ ReLU(A^ x W_0) W_1`` with ``A^ = D~^-1/2 (A + I) D~^-1/2`` and, for comparison,
      the same width ``heads * hidden``.

    Both have biases, and dropout before each layer.

    `Standardize` standardises the features, so that dropout and learning rate mean the same for
    every clean network. All computation is float32, also under autocast.

    Args:
        in_channels: Length D of the features, >= 1, like the other numbers of channels and heads.
        num_classes: Number of classes C.
        layer: "gat" or "gcn".
        hidden: Channels of a head.
        heads: Heads of the first layer.
        dropout: Probability in [0, 1).
        extra_channels: Further channels, after the D, that are not standardised (probabilities).

    Velickovic et al., "Graph Attention Networks", ICLR 2018, with its sizes for transductive
    learning; Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks",
    ICLR 2017. The layers come from torch_geometric, which is imported lazily because its import
    takes seconds.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        layer: Layer = "gat",
        hidden: int = 8,
        heads: int = 8,
        dropout: float = 0.6,
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        if layer not in get_args(Layer):
            raise ValueError(f"layer is {layer!r}; give 'gat' or 'gcn'")
        sizes = {"in_channels": in_channels, "num_classes": num_classes}
        for name, value in (sizes | {"hidden": hidden, "heads": heads}).items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give a number >= 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; give a probability in [0, 1)")
        self.num_classes, self.dropout = num_classes, dropout
        self.standardize = Standardize(in_channels)
        self.first, self.second = _layers(
            layer, in_channels + extra_channels, num_classes, hidden, heads, dropout
        )
        self.activation = nn.ELU() if layer == "gat" else nn.ReLU()

    def forward(self, x: Tensor, edge_index: Tensor, kept: Tensor | None = None) -> Tensor:
        """Compute logits (V, C), float32, of all regions of one graph, or of several disjoint ones.

        Args:
            x: Features, (V, D + extra_channels), any float type.
            edge_index: Connected regions, both directions, without self loops, (2, E).
            kept: Edges that count, (E,) bool; None for all. Equals passing ``edge_index[:, kept]``,
                whose size would need a synchronisation with the GPU.
        """
        channels = self.standardize.mean.numel()
        width = self.first.in_channels
        if x.ndim != 2 or x.shape[1] != width:
            raise ValueError(
                f"features have shape {tuple(x.shape)}, this network was made for (V, {width}); "
                "give in_channels the length of the graphs' features"
            )
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            x = torch.cat([self.standardize(x[:, :channels]), x[:, channels:]], 1)
            # An extra region, connected to nothing, collects the edges that do not count.
            x = F.pad(x, (0, 0, 0, 1))
            edges = _with_loops(edge_index, kept, len(x))
            x = self.activation(self._apply_layer(self.first, x, edges))
            logits: Tensor = self._apply_layer(self.second, x, edges)[:-1]
        return logits

    def _apply_layer(self, layer: nn.Module, x: Tensor, edges: Tensor) -> Tensor:
        x = F.dropout(x, self.dropout, self.training)
        weight = () if hasattr(layer, "heads") else (_symmetric_norm(edges, len(x)),)
        result: Tensor = layer(x, edges, *weight)
        return result


class Standardize(nn.Module):
    """Standardisation of each channel by mean and standard deviation over all rows seen so far.

    In training mode the rows (V, D) enter the statistics before these are used. The statistics soon
    agree for all batches, and a single row is enough. In eval mode they stay. Under DDP they are
    those of rank 0, as of any buffer.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.zeros(channels))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise rows (V, D); a channel without any spread gives 0."""
        if self.training:
            self._include(x.detach())
        # Before any training the features pass unchanged.
        scale = torch.where(self.count > 0, (self.variance + 1e-5).rsqrt(), 1.0)
        return (x - self.mean) * scale

    def _include(self, x: Tensor) -> None:
        """Update mean and variance by the rows of one batch (Chan's formula)."""
        total = self.count + len(x)
        share = len(x) / total.clamp_min(1)
        variance, mean = torch.var_mean(x, 0, correction=0) if len(x) else (x.sum(0), x.sum(0))
        difference = mean - self.mean
        self.variance += share * (variance - self.variance + (1 - share) * difference.square())
        self.mean += share * difference
        self.count.copy_(total)


def _layers(
    layer: Layer, in_channels: int, num_classes: int, hidden: int, heads: int, dropout: float
) -> tuple[nn.Module, nn.Module]:
    with warnings.catch_warnings():
        # torch_geometric uses torch.jit.script, which newer torch versions call deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.nn import GATConv, GCNConv
    width = heads * hidden
    if layer == "gat":
        # GATConv's own self loops begin with a selection of edges: see `_with_loops`.
        shared = {"dropout": dropout, "add_self_loops": False}
        first = GATConv(in_channels, hidden, heads, **shared)
        return first, GATConv(width, num_classes, 1, **shared)
    first = GCNConv(in_channels, width, normalize=False)
    return first, GCNConv(width, num_classes, normalize=False)


def _with_loops(edge_index: Tensor, kept: Tensor | None, count: int) -> Tensor:
    """Add self loops of V nodes, (2, E + V); edges that do not count lead to the last node."""
    if kept is not None:
        edge_index = torch.where(kept, edge_index, count - 1)
    loops = torch.arange(count, device=edge_index.device).expand(2, -1)
    return torch.cat([edge_index, loops], 1)


def _symmetric_norm(edges: Tensor, count: int) -> Tensor:
    """Compute D~^-1/2 (A + I) D~^-1/2 at the edges and self loops (2, E), (E,) float32."""
    ones = torch.ones(edges.shape[1], device=edges.device)
    degree = torch.zeros(count, device=edges.device).index_add(0, edges[1], ones)
    scale = degree.rsqrt()
    return scale[edges[0]] * scale[edges[1]]
