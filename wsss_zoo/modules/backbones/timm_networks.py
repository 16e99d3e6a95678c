"""Creation of timm's feature extractors, and proof that their maps lie where they should."""

from difflib import get_close_matches
from typing import Any, NamedTuple

import timm
import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor

from wsss_zoo.modules.backbones.downloads import without_retries
from wsss_zoo.modules.backbones.plain_vit import (
    evenly_spaced_blocks,
    patch_size,
    prune,
    token_maps,
)
from wsss_zoo.modules.backbones.vgg import VGG16
from wsss_zoo.modules.weights import canonical

_DILATED = (8, 16, 32)
_WORKING = "take another, such as vit_small_patch14_dinov2 (output_stride 14) or resnet50"


class Network(NamedTuple):
    """A feature extractor, and what is known of its maps, shallow to deep."""

    model: Any
    channels: list[int]
    strides: list[int]
    #: Names of the modules behind the maps, as in ``model.named_modules()``.
    stages: list[str]
    #: Blocks of a plain ViT whose outputs are the maps; None for other networks.
    taken: tuple[int, ...] | None = None


def extract_maps(model: Any, taken: tuple[int, ...] | None, image: Tensor) -> list[Tensor]:
    """Compute the maps, each (N, D, h, w), of a normalised image (N, 3, H, W).

    Args:
        model: ``Network.model``.
        taken: ``Network.taken``.
        image: Its sides are multiples of all strides.
    """
    if taken is not None:
        return token_maps(model, taken, image)
    features: list[Tensor] = model(image)
    if is_channels_last(model):
        return [feature.permute(0, 3, 1, 2) for feature in features]
    return features


def create_network(name: str, output_stride: int, pretrained: bool) -> Network:
    """Create the feature extractor of a timm network.

    Args:
        name: Name of the network; ``name.tag`` chooses one of several published weights.
        output_stride: Stride of the last map in pixels.
        pretrained: Download the published weights.

    Raises:
        ValueError: If timm does not know the name, or the network has no maps at this stride for
            images of any size.
        RuntimeError: If the download fails.
    """
    if not timm.is_model(name):
        similar = get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(
            f"timm knows no backbone {name!r}; similar names: {', '.join(similar) or 'none'} "
            "(timm.list_models() lists all)"
        )
    if name == "vgg16":
        return _vgg16(output_stride, pretrained)
    model, options = _find_extractor(name, output_stride)
    _check_stride(name, model, output_stride)
    if _is_plain(model):
        del model  # two networks need not be in memory at once
        network = _plain(name, output_stride, options)
    else:
        network = _pyramid(name, model, output_stride)
        del model
    problem = _misplacement(network)
    if problem is not None:
        raise ValueError(_refusal(name, output_stride, problem))
    if not pretrained:
        return network
    if network.taken is not None:
        del network
        return _plain(name, output_stride, options, pretrained=True)
    del network
    model = _pretrained(name, name, features_only=True, **options)
    return _pyramid(name, model, output_stride)


def is_channels_last(model: Any) -> bool:
    """Tell whether an extractor gives maps (N, h, w, D)."""
    layout = getattr(model, "output_fmt", None)
    return str(getattr(layout, "value", layout)) == "NHWC"


def _find_extractor(name: str, output_stride: int) -> tuple[Any, dict[str, Any]]:
    """Create an extractor with the first options that it takes; those for any size come first."""
    # Networks without dilation reject the stride; 32 is what most have anyway.
    dilated: list[dict[str, Any]] = (
        [] if output_stride == 32 else [{"output_stride": output_stride}]
    )
    found: tuple[Any, dict[str, Any]] | None = None
    # Initial values must not depend on what was tried before.
    state, reason = torch.get_rng_state(), ""
    for options in ({"dynamic_img_size": True}, {"strict_img_size": False}, *dilated, {}):
        torch.set_rng_state(state)
        try:
            model: Any = timm.create_model(name, features_only=True, **options)
        except Exception as error:
            reason = f"timm makes no feature extractor of it ({_first_line(error)})"
            continue
        if "dynamic_img_size" in options and _wants_one_size(model):
            continue  # Swin of timm 1.0.20 swallows what it does not know
        if _is_plain(model):
            torch.set_rng_state(state)
            return model, options
        if model.feature_info.reduction()[-1] == output_stride:
            return model, options
        found = found or (model, options)
    if found is None:
        raise ValueError(_refusal(name, output_stride, reason))
    return found


def _wants_one_size(model: Any) -> bool:
    patches = getattr(getattr(model, "model", model), "patch_embed", None)
    return bool(getattr(patches, "strict_img_size", False))


def _is_plain(model: Any) -> bool:
    equal = len(set(model.feature_info.reduction())) == 1
    return isinstance(model, FeatureGetterNet) and equal and hasattr(model.model, "blocks")


def _plain(
    name: str, output_stride: int, options: dict[str, Any], pretrained: bool = False
) -> Network:
    if pretrained:
        model = _pretrained(name, name, num_classes=0, **options)
    else:
        model = timm.create_model(name, num_classes=0, **options)
    try:
        taken = evenly_spaced_blocks(len(model.blocks))
        patch = patch_size(model)
        prune(model, taken)
    except (ValueError, AttributeError, TypeError) as error:
        problem = f"it has no four maps of tokens ({_first_line(error)})"
        raise ValueError(_refusal(name, output_stride, problem)) from error
    channels = int(model.feature_info[-1]["num_chs"])
    return Network(model, [channels] * 4, [patch] * 4, [f"blocks.{i}" for i in taken], taken)


def _pyramid(name: str, model: Any, output_stride: int) -> Network:
    info = model.feature_info
    stages = _stage_modules(model)
    if stages is None:
        problem = f"no module of it is named {' or '.join(info.module_name())}"
        raise ValueError(_refusal(name, output_stride, problem))
    return Network(model, info.channels(), info.reduction(), stages)


def _stage_modules(model: Any) -> list[str] | None:
    """Name the feature maps' modules; None if they are not found."""
    names = {canonical(module): module for module, _ in model.named_modules()}
    wanted = [canonical(stage) for stage in model.feature_info.module_name()]
    # timm flattens "stages.0" to "stages_0" in its lists, and its getters keep the network inside.
    for prefix in ("", "model_"):
        if all(prefix + stage in names for stage in wanted):
            return [names[prefix + stage] for stage in wanted]
    # MViT and Twins name other modules than they have.
    for prefix in ("model_stages_", "model_blocks_"):
        if [key for key in names if key.startswith(prefix) and key.removeprefix(prefix).isdigit()]:
            stages = [f"{prefix}{index}" for index in range(len(wanted))]
            if stages[-1] in names and f"{prefix}{len(wanted)}" not in names:
                return [names[stage] for stage in stages]
    return None


def _check_stride(name: str, model: Any, output_stride: int) -> None:
    deepest = model.feature_info.reduction()[-1]
    if deepest == output_stride:
        return
    if _is_plain(model):
        raise ValueError(
            f"backbone {name!r} has patches of {deepest} pixels; set output_stride to {deepest}, "
            f"not {output_stride}"
        )
    if output_stride not in _DILATED and _can_dilate(name):
        raise ValueError(f"output_stride is {output_stride}; give 8, 16 or 32")
    problem = _misplacement(_pyramid(name, model, deepest))
    if problem is not None:  # no stride helps
        raise ValueError(_refusal(name, output_stride, problem))
    raise ValueError(
        f"backbone {name!r} cannot dilate; set output_stride to {deepest}, not {output_stride}"
    )


def _can_dilate(name: str) -> bool:
    try:
        model: Any = timm.create_model(name, features_only=True, output_stride=16)
    except Exception:
        return False
    return bool(model.feature_info.reduction()[-1] == 16)


@torch.no_grad()
def _misplacement(network: Network) -> str | None:
    """Say which map does not cover an image of a new size exactly; None if all do."""
    side = max(network.strides)
    height, width = 2 * side, 3 * side
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    network.model.eval()
    try:
        features = extract_maps(network.model, network.taken, image)
    except Exception as error:
        return f"it cannot take one of {width} x {height} pixels ({_first_line(error)})"
    finally:
        network.model.train()
    for feature, channels, stride in zip(features, network.channels, network.strides, strict=True):
        wanted = (1, channels, height // stride, width // stride)
        if tuple(feature.shape) != wanted:
            given = tuple(feature.shape)
            return f"of {width} x {height} pixels a map has the shape {given}, not {wanted}"
    return None


def _vgg16(output_stride: int, pretrained: bool) -> Network:
    if output_stride != 8:
        raise ValueError(
            f"backbone 'vgg16' has no feature maps at output stride {output_stride}, because its "
            "last two poolings are removed; set output_stride to 8"
        )
    model = VGG16()
    if pretrained:
        classifier = _pretrained("vgg16", "vgg16.tv_in1k")
        model.features.load_state_dict(classifier.features.state_dict())
    return _pyramid("vgg16", model, output_stride)


def _pretrained(name: str, timm_name: str, **options: Any) -> Any:
    reason = None
    try:
        with without_retries() as reason:
            return timm.create_model(timm_name, pretrained=True, **options)
    except Exception as error:
        reason = reason or _first_line(error)
        raise RuntimeError(
            f"timm could not load pretrained weights for {name!r}: {reason}; "
            "give weights the path of a downloaded .safetensors or .pth file instead"
        ) from error


def _refusal(name: str, output_stride: int, reason: str) -> str:
    return (
        f"backbone {name!r} cannot give feature maps at output stride {output_stride} of images "
        f"of any size: {reason}; {_WORKING}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
