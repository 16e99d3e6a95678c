"""Logits and features of a segmenter's network during a predict step, caught by hooks."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Features = Literal["decoder", "backbone"]


@dataclass(frozen=True)
class Pass:
    """One forward pass of a network over a batch."""

    logits: Tensor  # (N, C, H, W)
    features: Tensor  # of the decoder, or of the backbone's last level, (N, D, h, w)
    stride: int  # features cover the image padded right and below to a multiple of this


def segmentation_networks(module: nn.Module) -> list[nn.Module]:
    """Find the networks of a backbone and a decoder in a method: its own, averages and partners."""
    return [
        part
        for part in module.modules()
        if all(isinstance(getattr(part, name, None), nn.Module) for name in ("backbone", "decoder"))
    ]


class NetworkOutputs:
    """Keeps the output of whichever network a method runs, so no second pass is needed."""

    def __init__(self, module: nn.Module, features: Features) -> None:
        self._name = type(module).__name__
        self._features: Tensor | None = None
        self._passes: list[Pass] = []
        self._handles: list[RemovableHandle] = []
        for network in segmentation_networks(module):
            part = getattr(network, features)
            self._handles.append(part.register_forward_hook(self._keep_features))
            self._handles.append(network.register_forward_hook(self._keep_logits))

    def pop_pass(self) -> Pass:
        """Return the pass since the last call.

        Raises:
            RuntimeError: If there was none, or more than one.
        """
        passes, self._passes = self._passes, []
        if len(passes) != 1:
            raise RuntimeError(
                f"{self._name}.predict_step ran its network {len(passes)} times on a batch, but "
                "regions and their labels' losses need exactly one pass; predict with a method "
                "whose forward runs one network, such as Supervised"
            )
        return passes[0]

    def remove(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._passes, self._features = [], [], None

    def _keep_features(self, part: nn.Module, inputs: Any, output: Any) -> None:
        # A backbone gives its levels, shallow to deep.
        self._features = output if isinstance(output, Tensor) else output[-1]

    def _keep_logits(self, network: nn.Module, inputs: Any, output: Tensor) -> None:
        assert self._features is not None
        backbone: Any = network.backbone
        self._passes.append(Pass(output, self._features, backbone.strides[-1]))
        self._features = None
