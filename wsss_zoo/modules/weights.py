"""Reading of weights files, and loading of a whole network."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)

_TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar")
# Keys under which training scripts store the tensors, most specific first.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a weights file's or checkpoint's tensors by name to the CPU, without executing code.

    Args:
        path: A ``.safetensors`` file, or a torch file (``.pth``, ``.pt``, ``.ckpt``, ``.bin``,
            ``.tar``) that holds a state dict, bare or under "state_dict", "model_state_dict" or
            "model".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix is not supported, or the file is corrupt, holds objects other than
            tensors and plain containers, or no tensor at all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights file {path} does not exist; give the path of a .safetensors or .pth file, "
            "'imagenet', or null for random weights"
        )
    damaged = damaged_part(path)
    if damaged is not None:
        raise ValueError(
            f"weights file {path} is corrupt: the checksum of {damaged} does not fit; copy or "
            "download it again"
        )
    try:
        content = _read(path)
    except Exception as error:  # torch lets KeyError, IndexError and more through
        raise ValueError(
            f"weights file {path} cannot be read: it is corrupt, or holds pickled objects, which "
            "are never unpickled; save its state dict as .safetensors "
            f"({type(error).__name__}: {error})"
        ) from error
    content = content if isinstance(content, dict) else {}
    nested = {str(key): tensors for key, value in content.items() if (tensors := _tensors(value))}
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
    state = _tensors(content if wrapper is None else content[wrapper])
    # A running average, for example.
    others = [key for key, held in nested.items() if key != wrapper and held.keys() & state.keys()]
    if wrapper is not None and others:
        text = "%s: the tensors of %r are read, not those of %s"
        logger.warning(text, path, wrapper, some_names(others))
    if not state and nested:
        raise ValueError(
            f"weights file {path} holds no tensors, except in {', '.join(nested)}: save one of "
            "these as a state dict"
        )
    if not state:
        raise ValueError(f"weights file {path} holds no tensors; give a file with a state dict")
    return state


def _tensors(content: Any) -> dict[str, Tensor]:
    pairs = content.items() if isinstance(content, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, Tensor)}


def damaged_part(path: str | Path) -> str | None:
    """Find a part of a torch file with a wrong checksum, which ``torch.load`` does not check.

    Returns:
        The part's name, or an error of the whole file. None if all is intact, and for formats other
        than torch's, which have no checksums.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except Exception as error:  # zipfile lets struct's, zlib's and more errors through
        return f"its list of contents ({error})"


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path, device="cpu")
    if path.suffix in _TORCH_SUFFIXES:
        return torch.load(path, map_location="cpu", weights_only=True)
    raise ValueError(
        f"weights file {path} has the suffix {path.suffix!r}; "
        f"supported are .safetensors, {', '.join(_TORCH_SUFFIXES)}"
    )


def load_network_weights(
    module: nn.Module, path: str | Path, core: str = "", copies: str | None = None
) -> None:
    """Start a whole network from a checkpoint.

    Args:
        module: The network.
        path: A Lightning checkpoint or weights file; see `read_state_dict`.
        core: Beginning of the names that must agree. The checkpoint may lack all others (they keep
            their initial values) or hold them in addition or in another shape (they are left out).
        copies: Beginning of the names that the caller copies from others afterwards.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name of the core is missing, superfluous or of another shape.
    """
    state, own = read_state_dict(path), module.state_dict()
    missing = [name for name in own if name not in state and name.startswith(core)]
    extra = [name for name in state if name not in own and name.startswith(core)]
    if missing or extra:
        raise ValueError(
            f"checkpoint {path} is of another network: it lacks {len(missing)} tensors "
            f"({some_names(missing)}) and has {len(extra)} too many ({some_names(extra)}); "
            "give a checkpoint of the same backbone and architecture"
        )
    shared = {
        name: value
        for name, value in state.items()
        if name in own and (name.startswith(core) or value.shape == own[name].shape)
    }
    check_shapes(module, shared, path)
    module.load_state_dict(shared, strict=False)
    copied = () if copies is None else (copies,)
    fresh = [name for name in own if name not in shared and not name.startswith(copied)]
    if fresh:
        logger.warning("%s: %d tensors start afresh: %s", path, len(fresh), some_names(fresh))


def canonical(name: str) -> str:
    """Convert a module's or tensor's name to timm's flattened form."""
    return name.replace(".", "_")


def check_shapes(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Raise a ValueError that names the first tensor of another shape than the module's."""
    own = module.state_dict()
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{path}: {name} has the shape {tuple(value.shape)}, this network needs "
                f"{tuple(own[name].shape)}; give a file of the same network and number of classes"
            )


def some_names(names: list[str], count: int = 3) -> str:
    """Write the first names, for a message."""
    if not names:
        return "none"
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
