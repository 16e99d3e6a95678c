"""Feature extractor from timm with normalisation, weights, and parts that can be frozen."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss_zoo.modules.backbones.plain_vit import read_tokens, write_tokens
from wsss_zoo.modules.backbones.timm_networks import create_network, extract_maps, is_channels_last
from wsss_zoo.modules.backbones.weight_files import load_backbone_weights


class Backbone(nn.Module):
    """Feature extractor for images in [0, 1]: any timm network with a dense last feature map.

    Images are normalised with the backbone's own mean and standard deviation. Their right and
    bottom are then padded with the mean colour to a multiple of the output stride. Every image size
    works, and level i covers the image at exactly ``strides[i]``. Networks that are bound to one
    size are refused.

    A plain vision transformer gives four maps on the grid of its patches, from evenly spaced
    blocks, after its final norm. Its position embedding is resampled to the image's grid.

    Args:
        name: Name of a timm model with feature maps; "vgg16" is `VGG16`, for output stride 8.
            ``name.tag`` chooses one of several published weights.
        weights: None for random initialisation, "imagenet" for the weights that timm downloads by
            default (which need not be of ImageNet: those of DINOv2 are of LVD-142M), or the path of
            a ``.safetensors`` or ``.pth`` file; see `load_backbone_weights`.
        output_stride: Stride of the last feature map, in pixels: 8, 16 or 32 for networks that can
            dilate; the side of a patch for plain vision transformers; 32 for most others.
        freeze_bn: Keep the running statistics of every BatchNorm fixed, also in training. The
            affine parameters are trained.

    Raises:
        ValueError: If timm does not know the name, the network has no feature maps at this stride
            for images of any size, or the weights do not fit.
        FileNotFoundError: If the weights file does not exist.
        RuntimeError: If the download of the weights fails.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        output_stride: int = 16,
        freeze_bn: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.freeze_bn = name, freeze_bn
        network = create_network(name, output_stride, pretrained=weights == "imagenet")
        self.model = network.model
        #: Channels of each feature map, shallow to deep.
        self.channels: list[int] = network.channels
        #: Stride of each feature map in pixels.
        self.strides: list[int] = network.strides
        #: Name of the module behind each feature map, as in ``model.named_modules()``.
        self.stages: list[str] = network.stages
        #: Blocks of a plain vision transformer whose outputs are the maps; None for others.
        self.taken: tuple[int, ...] | None = network.taken
        #: Whether all maps lie on one grid, that of a plain vision transformer's patches.
        self.plain: bool = network.taken is not None
        self._frozen = False
        inner: Any = getattr(self.model, "model", self.model)
        config = inner.pretrained_cfg
        #: Mean colour in [0, 1], also the colour of padding.
        self.image_mean: tuple[float, float, float] = tuple(config["mean"])
        #: Standard deviation of the colours.
        self.image_std: tuple[float, float, float] = tuple(config["std"])
        # Constants of the architecture: not in checkpoints, but moved between devices.
        self.register_buffer("mean", _per_channel(self.image_mean), persistent=False)
        self.register_buffer("std", _per_channel(self.image_std), persistent=False)
        if weights is not None and weights != "imagenet":
            load_backbone_weights(self.model, weights, name)
        # Lightning's fit does not change the modes.
        self.train()

    def prepare(self, image: Tensor) -> Tensor:
        """Normalise an image (N, 3, H, W) in [0, 1], and pad it to multiples of the stride."""
        stride = self.strides[-1]
        # In this form torch.export recognises a multiple of the stride.
        below, right = ((n + stride - 1) // stride * stride - n for n in image.shape[-2:])
        normalised = (image - self.mean) / self.std
        return F.pad(normalised, (0, right, 0, below))

    def extract(self, prepared: Tensor) -> list[Tensor]:
        """Extract the feature maps of a prepared image, shallow to deep: (N, D, H' / s, W' / s)."""
        return extract_maps(self.model, self.taken, prepared)

    def extract_from(self, prepared: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
        """Return a layer's output as a leaf of the graph, and the last feature map as its function.

        For Grad-CAM: gradients reach the leaf, but nothing before it.

        Args:
            prepared: What `prepare` returns, (N, 3, H', W').
            layer: Name in ``model.named_modules()`` of a module whose output is a feature map, or
                the tokens of a plain vision transformer; None for the last feature map itself.

        Returns:
            The leaf (N, D, h, w), which requires a gradient, and the last feature map.
        """
        self.check_layer(layer)
        if layer is None:
            last = self.extract(prepared)[-1].detach().requires_grad_()
            return last, last
        leaves: list[Tensor] = []

        problem = f"layer {layer!r} of {self.name} does not give one feature map; take another"

        def cut(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            map_, restore = self._as_map(module, output, (prepared.shape[-2], prepared.shape[-1]))
            if map_ is None:
                raise ValueError(problem)
            leaves.append(map_.detach().requires_grad_())
            # A copy, because an in-place activation may follow and would change the leaf.
            return restore(leaves[-1]).clone()

        with self.model.get_submodule(layer).register_forward_hook(cut):
            last = self.extract(prepared)[-1]
        if not leaves:
            raise ValueError(problem)
        return leaves[-1], last

    def _as_map(
        self, module: nn.Module, output: Any, size: tuple[int, int]
    ) -> tuple[Tensor | None, Callable[[Tensor], Tensor]]:
        """A module's output as a map (N, D, h, w) or None, and how to write a map back."""
        if not isinstance(output, Tensor):
            return None, _same
        if self.plain:
            split = read_tokens(self.model, output, size)
            if split is None:
                return None, _same
            prefix, cells = split[0].detach(), split[1]
            return cells, lambda cells: write_tokens(prefix, cells)
        if output.ndim != 4:
            return None, _same
        last = is_channels_last(self.model) and not isinstance(module, nn.Conv2d)
        if isinstance(self.model, FeatureGetterNet):  # of either order inside
            first, last = (
                size[0] * output.shape[axis + 1] == size[1] * output.shape[axis] for axis in (2, 1)
            )
            if first == last:
                return None, _same
        if last:
            return output.permute(0, 3, 1, 2), lambda map_: map_.permute(0, 2, 3, 1)
        return output, _same

    def check_layer(self, layer: str | None) -> None:
        """Raise a ValueError that lists the layers if none has this name."""
        if layer is None or layer in dict(self.model.named_modules()):
            return
        names = sorted({*self.stages, *(name for name, _ in self.model.named_children())})
        raise ValueError(
            f"backbone {self.name} has no layer {layer!r}; it has {', '.join(names)} "
            "and the modules inside them"
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract the feature maps of an image (N, 3, H, W) in [0, 1], shallow to deep."""
        return self.extract(self.prepare(image))

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training mode, except what is frozen; parents call this too."""
        super().train(mode)
        if self._frozen:
            super().train(False)
        elif self.freeze_bn:
            for module in self.modules():
                # Includes timm's BatchNormAct2d and SyncBatchNorm.
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def freeze(self) -> None:
        """Freeze all parameters, and stay in eval mode whatever `train` says."""
        self._frozen = True
        self.requires_grad_(False)
        self.eval()

    def freeze_stages(self, count: int) -> None:
        """Freeze everything up to the `count`-th feature map; 0 freezes nothing.

        No gradient is computed for these parts, as if the feature map were detached.
        """
        if not 0 <= count <= len(self.stages):
            raise ValueError(
                f"cannot freeze {count} stages of {self.name}, which has {len(self.stages)}; "
                f"give 0 to {len(self.stages)}"
            )
        for parameter in self._parameters_up_to(count):
            parameter.requires_grad_(False)

    def layers(self) -> list[list[nn.Parameter]]:
        """Group the parameters by depth: by block of a plain vision transformer, else by stage.

        Returns:
            A list for what comes before the first block, if the network is plain, and one for each
            block or stage, shallow to deep. What comes after the last one belongs to it.
        """
        if self.plain:
            blocks = [list(block.parameters()) for block in self.model.blocks]
            inside = {id(parameter) for block in blocks for parameter in block}
            before = {id(parameter) for parameter in self._parameters_up_to(1)} - inside
            groups = [[p for p in self.parameters() if id(p) in before], *blocks]
        else:
            groups = [self._parameters_up_to(count + 1) for count in range(len(self.stages))]
        placed: set[int] = set()
        for index, group in enumerate(groups):
            groups[index] = [p for p in group if id(p) not in placed]
            placed |= set(map(id, group))
        groups[-1] += [p for p in self.parameters() if id(p) not in placed]
        return groups

    def _parameters_up_to(self, count: int) -> list[nn.Parameter]:
        """List the parameters that the first `count` maps depend on, the final norm left out."""
        if count == 0:
            return []
        if self.plain:
            stage, modules = self.stages[count - 1], list(self.model.named_modules())
            ends = (i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(f"{stage}."))
            modules = modules[: max(ends) + 1]
            return [p for _, module in modules for p in module.parameters(recurse=False)]
        return self._dependencies(count)

    def _dependencies(self, count: int) -> list[nn.Parameter]:
        # Modules may be listed in another order than they run in.
        parameters = list(self.model.parameters())
        trained = [parameter.requires_grad for parameter in parameters]
        mode, side = self.training, max(self.strides)
        device = self.mean.device
        try:
            self.model.requires_grad_(True).eval()
            with torch.enable_grad():
                maps = self.extract(torch.zeros(1, 3, side, side, device=device))[:count]
                total = sum((map_.sum() for map_ in maps), start=torch.zeros((), device=device))
                found = torch.autograd.grad(total, parameters, allow_unused=True)
        finally:
            for parameter, before in zip(parameters, trained, strict=True):
                parameter.requires_grad_(before)
            self.train(mode)
        return [p for p, gradient in zip(parameters, found, strict=True) if gradient is not None]

    def set_grad_checkpointing(self) -> None:
        """Keep no inner activations for the backward pass, and compute them again there.

        Raises:
            ValueError: If the network cannot, or BatchNorm would count every batch twice.
        """
        inner: Any = getattr(self.model, "model", self.model)
        norms = any(isinstance(module, _BatchNorm) for module in self.model.modules())
        if norms and not self.freeze_bn and not self._frozen:
            raise ValueError(
                f"grad_checkpointing runs {self.name} twice a step, so that its BatchNorm would "
                "count every batch twice; set freeze_backbone_bn, or take a backbone without "
                "BatchNorm, such as a ViT"
            )
        try:
            inner.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:  # timm's way to say that it has none
            raise ValueError(
                f"backbone {self.name} has no gradient checkpointing; set grad_checkpointing to "
                "false, or take a ViT"
            ) from error


def _same(map_: Tensor) -> Tensor:
    return map_


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
