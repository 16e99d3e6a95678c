"""Feature extractor from timm with normalisation, weights and freezable BatchNorm."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsss_zoo.modules.downloads import without_retries
from wsss_zoo.modules.vgg import VGG16
from wsss_zoo.modules.weights import canonical, load_backbone_weights


class Backbone(nn.Module):
    """Feature extractor for images in [0, 1]: any timm network with a dense last feature map.

    Images are normalised with the backbone's own mean and standard deviation. Their right and
    bottom are then padded with the mean colour to a multiple of the output stride. Every image size
    works, and level i covers the image at exactly ``strides[i]``.

    Args:
        name: Name of a timm model with ``features_only``; "vgg16" is `VGG16`, for output stride 8.
        weights: None for random initialisation, "imagenet" for timm's download, or the path of a
            ``.safetensors`` or ``.pth`` file; see `load_backbone_weights`.
        output_stride: Stride of the last feature map, in pixels: 8, 16 or 32. timm dilates below
            32.
        freeze_bn: Keep the running statistics of every BatchNorm fixed, also in training. The
            affine parameters are trained.

    Raises:
        ValueError: If timm does not know the name, the network has no feature maps at this stride
            for images of any size, or the weights do not fit.
        FileNotFoundError: If the weights file does not exist.
        RuntimeError: If the download of the ImageNet weights fails.
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
        self.model = _create(name, output_stride, pretrained=weights == "imagenet")
        #: Channels of each feature map, shallow to deep.
        self.channels: list[int] = self.model.feature_info.channels()
        #: Stride of each feature map in pixels.
        self.strides: list[int] = self.model.feature_info.reduction()
        #: Name of the module behind each feature map, as in ``model.named_modules()``.
        self.stages: list[str] = _stage_modules(self.model)
        config = self.model.pretrained_cfg
        #: Mean colour in [0, 1], also the colour of padding.
        self.image_mean: tuple[float, float, float] = tuple(config["mean"])
        #: Standard deviation of the colours.
        self.image_std: tuple[float, float, float] = tuple(config["std"])
        # Constants of the architecture: not in checkpoints, but moved between devices.
        self.register_buffer("mean", _per_channel(self.image_mean), persistent=False)
        self.register_buffer("std", _per_channel(self.image_std), persistent=False)
        if weights is not None and weights != "imagenet":
            load_backbone_weights(self.model, weights)
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
        features: list[Tensor] = self.model(prepared)
        return features

    def extract_from(self, prepared: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
        """Return a layer's output as a leaf of the graph, and the last feature map as its function.

        For Grad-CAM: gradients reach the leaf, but nothing before it.

        Args:
            prepared: What `prepare` returns, (N, 3, H', W').
            layer: Name in ``model.named_modules()`` of a module whose output is a feature map; None
                for the last feature map itself.

        Returns:
            The leaf (N, D, h, w), which requires a gradient, and the last feature map.
        """
        self.check_layer(layer)
        if layer is None:
            last = self.extract(prepared)[-1].detach().requires_grad_()
            return last, last
        leaves: list[Tensor] = []

        def cut(module: nn.Module, inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ValueError(
                    f"layer {layer!r} of {self.name} does not give one feature map; take another"
                )
            leaves.append(output.detach().requires_grad_())
            # A copy, because an in-place activation may follow and would change the leaf.
            return leaves[-1].clone()

        with self.model.get_submodule(layer).register_forward_hook(cut):
            last = self.extract(prepared)[-1]
        return leaves[-1], last

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
        """Switch to training mode, except BatchNorm where it is frozen; parents call this too."""
        super().train(mode)
        if self.freeze_bn:
            for module in self.modules():
                # Includes timm's BatchNormAct2d and SyncBatchNorm.
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def freeze_stages(self, count: int) -> None:
        """Freeze everything up to the `count`-th feature map; 0 freezes nothing.

        No gradient is computed for these parts, as if the feature map were detached.
        """
        if not 0 <= count <= len(self.stages):
            raise ValueError(
                f"cannot freeze {count} stages of {self.name}, which has {len(self.stages)}; "
                f"give 0 to {len(self.stages)}"
            )
        if count == 0:
            return
        stage, modules = self.stages[count - 1], list(self.model.named_modules())
        last = max(i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(f"{stage}."))
        for _, module in modules[: last + 1]:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)


def _create(name: str, output_stride: int, pretrained: bool) -> Any:
    """Create the timm feature extractor, or raise an error with the reason."""
    if not timm.is_model(name):
        similar = get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(
            f"timm knows no backbone {name!r}; similar names: {', '.join(similar) or 'none'} "
            "(timm.list_models() lists all)"
        )
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride is {output_stride}; give 8, 16 or 32")
    if name == "vgg16":
        return _create_vgg16(output_stride, pretrained)
    # Networks without dilation reject the argument; 32 is what most have anyway.
    options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        model: Any = timm.create_model(name, features_only=True, **options)
    except Exception as error:
        raise ValueError(_refusal(name, output_stride)) from error
    any_size = not model.pretrained_cfg.get("fixed_input_size", False)
    channels_first = getattr(model, "output_fmt", None) in (None, "NCHW")
    if model.feature_info.reduction()[-1] != output_stride or not any_size or not channels_first:
        raise ValueError(_refusal(name, output_stride))
    return _pretrained(name, name, features_only=True, **options) if pretrained else model


def _create_vgg16(output_stride: int, pretrained: bool) -> VGG16:
    if output_stride != 8:
        raise ValueError(
            f"backbone 'vgg16' has no feature maps at output stride {output_stride}, because its "
            "last two poolings are removed; set output_stride to 8"
        )
    model = VGG16()
    if pretrained:
        classifier = _pretrained("vgg16", "vgg16.tv_in1k")
        model.features.load_state_dict(classifier.features.state_dict())
    return model


def _pretrained(name: str, timm_name: str, **options: Any) -> Any:
    reason = None
    try:
        with without_retries() as reason:
            return timm.create_model(timm_name, pretrained=True, **options)
    except Exception as error:
        reason = reason or (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RuntimeError(
            f"timm could not load ImageNet weights for {name!r}: {reason}; "
            "give weights the path of a downloaded .safetensors or .pth file instead"
        ) from error


def _refusal(name: str, output_stride: int) -> str:
    return (
        f"backbone {name!r} cannot give feature maps at output stride {output_stride} of images "
        "of any size; take a convolutional one that can, such as resnet50 or tf_efficientnet_lite0"
    )


def _stage_modules(model: Any) -> list[str]:
    """Name the feature maps' modules; timm flattens "stages.0" to "stages_0" in its list only."""
    names = {canonical(name): name for name, _ in model.named_modules()}
    return [names[canonical(name)] for name in model.feature_info.module_name()]


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)
