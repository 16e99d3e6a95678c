"""Loading of a backbone from files of many authors, and a guard against wrong files."""

import contextlib
import io
import logging
import re
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import timm
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from wsss_zoo.modules.weights import canonical, read_state_dict, some_names

logger = logging.getLogger(__name__)

_RESAMPLED = re.compile("pos_embed|patch_embed|relative_position_bias_table")
# Tensors beside the blocks without which a network computes something else.
_TOKENS = re.compile(
    r"(reg|register|storage|dist)_tokens?|pos_embed|(norm_pre|ln_pre)_(weight|bias)"
)


def load_backbone_weights(module: nn.Module, path: str | Path, name: str | None = None) -> None:
    """Load a backbone's weights from a classifier's file, or from a checkpoint that contains it.

    Names match up to a common prefix ("module.", "backbone.model.", ...) and up to "." against "_",
    since timm's feature extractors flatten "stages.0" to "stages_0". Files in the names of the
    authors (DINOv2, DINOv3, CLIP, Swin, ..) are converted by timm. Position embeddings of another
    grid and patch filters of another size are resampled, and logged. Superfluous tensors, such as
    the classifier's head, are skipped and logged.

    Args:
        module: The timm network; for an encoder of segmentation_models_pytorch its ``model``.
        path: The file; see `read_state_dict`.
        name: timm's name of the network. Without it only files in timm's names are read, and a file
            of a deeper network is not told from one with superfluous tensors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file lacks a tensor of the backbone, holds one of another shape, or is of
            another network.
    """
    module = module.model if isinstance(module, FeatureGetterNet) else module
    state = read_state_dict(path)
    wanted = {canonical(key): key for key in module.state_dict()}
    prefix = _prefix(wanted, state)
    found, extra = _matches(state, wanted, prefix)
    if name is not None and not _fits(module, found):
        # Both forms of a name have the same length.
        bare = {k[len(prefix) :]: v for k, v in state.items() if canonical(k).startswith(prefix)}
        prefix, converted = "", _converted(module, bare, path, name)
        found, extra = _matches(converted, wanted, prefix)
    # Files converted from other frameworks have no batch counters, which nothing reads.
    lacking = [key for key in module.state_dict() if key not in found]
    missing = [key for key in lacking if not key.endswith("num_batches_tracked")]
    backbone = "the backbone" if name is None else f"the backbone {name}"
    if missing:
        raise ValueError(
            f"weights file {path} lacks {len(missing)} of {len(wanted)} tensors of {backbone} "
            f"({some_names(missing)}); it holds {some_names(list(state))}: give a file made for "
            "this backbone"
        )
    _check_sizes(module, found, backbone, path)
    if name is not None:
        own = [key[len(prefix) :] for key in extra if canonical(key).startswith(prefix)]
        _check_extra(name, wanted, own, path)
    module.load_state_dict(found, strict=False)
    if extra:
        text = "%s: %d tensors have no place in the backbone: %s"
        logger.warning(text, path, len(extra), some_names(extra))


def _matches(
    state: dict[str, Tensor], wanted: dict[str, str], prefix: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Find the wanted tensors under the module's names; list the names of all others."""
    given = {canonical(name): name for name in state}
    sources = {name: given.get(prefix + key) for key, name in wanted.items()}
    found = {name: state[source] for name, source in sources.items() if source is not None}
    used = set(sources.values())
    return found, [name for name in state if name not in used]


def _prefix(wanted: dict[str, str], state: dict[str, Tensor]) -> str:
    """Find the prefix of the file's names under which most wanted names exist."""
    given = {canonical(name) for name in state}
    probe = next((key for key in wanted if any(name.endswith(key) for name in given)), None)
    if probe is None:
        return ""
    # In the file's order: of equal candidates the first counts.
    candidates = [canonical(n).removesuffix(probe) for n in state if canonical(n).endswith(probe)]
    found = Counter({prefix: sum(prefix + key in given for key in wanted) for prefix in candidates})
    return found.most_common(1)[0][0]


def _fits(module: nn.Module, found: dict[str, Tensor]) -> bool:
    own = module.state_dict()
    lacking = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    return not lacking and all(value.shape == own[key].shape for key, value in found.items())


def _converted(
    module: nn.Module, state: dict[str, Tensor], path: str | Path, name: str
) -> dict[str, Tensor]:
    """Convert a file's tensors to the network's names and sizes, by timm's function for that."""
    family = sys.modules[
        timm.model_entrypoint(timm.models.split_model_name_tag(name)[0]).__module__
    ]
    convert = getattr(family, "checkpoint_filter_fn", None)
    if convert is None:
        return state
    quiet = contextlib.redirect_stdout(io.StringIO())  # timm prints what it skips
    try:
        with quiet, warnings.catch_warnings(action="ignore"):  # of torch, on timm's resizing
            # Some take tensors out of what they are given.
            converted: dict[str, Tensor] = convert(dict(state), _Unflattened(module))
    except Exception as error:
        raise ValueError(
            f"weights file {path} is not of the backbone {name}: timm cannot convert it "
            f"({type(error).__name__}: {error}); it holds {some_names(list(state))}: give a file "
            "made for this backbone"
        ) from error
    _check_biases(name, state, converted, path)
    for key, value in converted.items():
        if key == "pos_embed" and "register_tokens" in state:
            continue  # Meta's has one for the class token too, which timm adds to the token
        # Others are renamed: Swin's downsampling was counted from another layer on.
        if _RESAMPLED.search(key) and key in state and state[key].shape != value.shape:
            shapes = tuple(state[key].shape), tuple(value.shape)
            logger.warning("%s: %s is resampled from %s to %s", path, key, *shapes)
    return converted


class _Unflattened:
    """A network under the names that it had before timm made a feature extractor of it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._names = {canonical(name): name for name, _ in module.named_modules()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def get_submodule(self, name: str) -> nn.Module:
        return self._module.get_submodule(self._names[canonical(name)])

    def get_parameter(self, name: str) -> Any:
        parent, _, own = name.rpartition(".")
        return self.get_submodule(parent).get_parameter(own)

    def state_dict(self) -> dict[str, Tensor]:
        return _ByAnyName({canonical(k): v for k, v in self._module.state_dict().items()})


class _ByAnyName(dict[str, Tensor]):
    def __missing__(self, name: str) -> Tensor:
        if canonical(name) == name:
            raise KeyError(name)
        return self[canonical(name)]


def _check_biases(
    name: str, state: dict[str, Tensor], converted: dict[str, Tensor], path: str | Path
) -> None:
    """Refuse a file whose biases of queries and values timm leaves out, unless they are 0."""
    for key, value in state.items():
        kept = (key, key.replace("qkv.bias", "q_bias"))
        if not key.endswith("attn.qkv.bias") or any(each in converted for each in kept):
            continue
        queries, _, values = value.chunk(3)
        if queries.any() or values.any():
            raise ValueError(
                f"weights file {path} has biases that the backbone {name} lacks ({key}); take the "
                "backbone with biases, for DINOv3 that with _qkvb in its name"
            )


def _check_sizes(
    module: nn.Module, found: dict[str, Tensor], backbone: str, path: str | Path
) -> None:
    """Refuse tensors of other shapes than the network's."""
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    other = [key for key, value in found.items() if tuple(value.shape) != own[key]]
    if other:
        first = other[0]
        raise ValueError(
            f"weights file {path}: {first} has the shape {tuple(found[first].shape)}, {backbone} "
            f"needs {own[first]}; {len(other)} of {len(own)} tensors of the backbone have other "
            f"shapes ({some_names(other)}): give a file made for this backbone"
        )


def _check_extra(name: str, wanted: dict[str, str], extra: list[str], path: str | Path) -> None:
    """Refuse blocks and tokens that the whole network has not, though all it needs is there."""
    known = {block for key in wanted for block in _blocks_of(key)}
    lists = {_list_of(block) for block in known}
    inside = [k for k in extra if lists & {*map(_list_of, _blocks_of(canonical(k))[:1])}]
    tokens = [key for key in extra if _TOKENS.fullmatch(canonical(key))]
    if not inside and not tokens:
        return
    whole = {canonical(key) for key in timm.create_model(name).state_dict()}
    inside, tokens = ([k for k in keys if canonical(k) not in whole] for keys in (inside, tokens))
    further = [key for key in inside if not known.issuperset(_blocks_of(canonical(key)))]
    if further:
        raise ValueError(
            f"weights file {path} is of a deeper network than the backbone {name}: it also holds "
            f"{len(further)} tensors of further blocks ({some_names(further)}); give a file "
            "made for this backbone"
        )
    if inside or tokens:
        raise ValueError(
            f"weights file {path} is of another network than the backbone {name}, which has no "
            f"place for {some_names(tokens + inside)}; give a file made for this backbone, or take "
            "the backbone that the file is of"
        )


def _blocks_of(name: str) -> list[str]:
    """Numbered modules that a tensor is in: "layer3_0" for "layer3_0_conv1_weight"."""
    return [name[: match.end()] for match in re.finditer(r"_\d+(?=_)", name)]


def _list_of(block: str) -> str:
    return block.rpartition("_")[0]
