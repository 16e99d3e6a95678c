"""``wsss-zoo export``: save the evaluated network of a checkpoint as a file of its own."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsss_zoo.arguments.command_parser import usage_errors
from wsss_zoo.deploy.supervised_checkpoint import save_supervised
from wsss_zoo.deploy.torch_exporters import EXAMPLE, Run, example_image, export_onnx, export_program
from wsss_zoo.files.atomic import replacing
from wsss_zoo.files.outputs import check_output_file
from wsss_zoo.runs.checkpoints.segmenter import TrainedSegmenter, load_segmenter

Format = Literal["onnx", "torch_export", "supervised"]

_SUFFIXES: dict[Format, str] = {
    "onnx": ".onnx",
    "torch_export": ".pt2",
    "supervised": ".supervised.ckpt",
}
# Batch, height, width of the check: all differ from the exporters' example, and none is a multiple
# of a stride.
_SIZES = ((1, 213, 320), (3, 161, 100), (1, 64, 224))


class Difference(NamedTuple):
    """Largest difference of an exported network's logits from PyTorch's; largest |logit|."""

    largest: float
    magnitude: float


def export_checkpoint(
    *,
    ckpt_path: str,
    format: Format,
    out: Path | None = None,
    tolerance: float = 1e-4,
    classes: str | None = None,
    model: str | None = None,
) -> int:
    """Save the evaluated network of a checkpoint as a file of its own.

    onnx and torch_export: input "image", (N, 3, H, W) float32, RGB in [0, 1], any N, H and W; the
    network normalises it. Output "logits", (N, C, H, W) float32; softmax over C gives
    probabilities. The file is written only if it agrees with PyTorch at three sizes. Class names
    are in metadata_props of an ONNX file (TorchScript-based exporter), in the extra file
    wsss_zoo.json of torch.export (which takes up to a minute).

    supervised: a checkpoint of the network alone as Supervised trains it, without exits, averages
    and second networks. It serves as --ckpt_path of validate, predict and label, and as
    --model.init_from of any segmenter.

    Args:
        ckpt_path: Checkpoint of a segmenter.
        format: Kind of file.
        out: File to write; default: beside the checkpoint.
        tolerance: Accepted difference from PyTorch, as a share of the largest logit (at least 1).
        classes: Class list that replaces the names in the checkpoint.
        model: Method, if the checkpoint does not name it or names one of your own.
    """
    out = out or Path(ckpt_path).with_suffix(_SUFFIXES[format])
    with usage_errors():
        check_output_file(out)
        trained = load_segmenter(ckpt_path, classes, model)
    if format == "supervised":
        save_supervised(ckpt_path, trained.method, out)
        print(f"{out}: the plain network of a {type(trained.method).__name__}")
        return 0
    found = export_segmenter(trained, out, format, tolerance)
    sizes = ", ".join(f"{width}x{height}" for _, height, width in _SIZES)
    print(
        f"{out}: at {sizes} pixels (width x height) the largest difference from PyTorch is "
        f"{found.largest:.1e}, in logits of up to {found.magnitude:.3g}"
    )
    return 0


def export_segmenter(
    trained: TrainedSegmenter, out: Path, format: Format, tolerance: float = 1e-4
) -> Difference:
    """Export a method's ``forward`` and check the file against it.

    Networks that ``forward`` does not run (teachers, second branches) are left out. The file
    appears complete and checked, or not at all. For the arguments see `export_checkpoint`.

    Raises:
        ImportError: If a package for ONNX is missing.
        ValueError: If PyTorch cannot export the network, or the file and PyTorch disagree.
    """
    network = copy.deepcopy(trained.method).eval().requires_grad_(False)
    images = [example_image(*size) for size in _SIZES]
    with torch.no_grad():
        expected = [network(image) for image in images]
        _drop_unused(network)
    export: Callable[[nn.Module, Path, dict[str, str]], Run]
    export = export_onnx if format == "onnx" else export_program
    with replacing(out, _SUFFIXES[format]) as unfinished:
        try:
            run = export(network, unfinished, _metadata(trained))
        except ImportError:
            raise
        except Exception as error:
            raise ValueError(
                f"PyTorch cannot export this network to {format} ({_first_line(error)}); nothing "
                "was written; try the other format"
            ) from error
        found = _compare(run, images, expected)
        # Also refuses NaN.
        if not found.largest <= tolerance * max(1.0, found.magnitude):
            raise ValueError(
                f"the exported network differs from PyTorch by {found.largest:.1e} in logits of up "
                f"to {found.magnitude:.3g}, more than --tolerance {tolerance} of that; nothing was "
                "written; try the other format"
            )
    return found


# Torch has no types for this class.
class _Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Record the memory of every tensor that an operation reads."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.memory.add(value.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def _drop_unused(network: nn.Module) -> None:
    """Remove the parameters and buffers that the forward pass does not read."""
    with _Touched() as touched:
        network(example_image(*EXAMPLE))
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None and value.untyped_storage().data_ptr() not in touched.memory:
                    tensors[name] = None


def _metadata(trained: TrainedSegmenter) -> dict[str, str]:
    pixels = {name: json.dumps(value) for name, value in trained.pixels.state().items()}
    return pixels | {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "method": type(trained.method).__name__,
        "image": "(N, 3, H, W) float32, RGB in [0, 1]",
        "logits": "(N, C, H, W) float32, before softmax over C",
    }


def _compare(run: Run, images: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    largest = magnitude = 0.0
    for image, wanted in zip(images, expected, strict=True):
        try:
            given = run(image)
        except Exception as error:  # torch.export checks what it took for granted
            raise ValueError(
                f"the exported network cannot take an image of {tuple(image.shape)} "
                f"({_first_line(error)}); nothing was written; try the other format"
            ) from error
        if given.shape != wanted.shape:
            raise ValueError(
                f"the exported network gives {tuple(given.shape)} for an image of "
                f"{tuple(image.shape)}, PyTorch {tuple(wanted.shape)}; nothing was written; try "
                "the other format"
            )
        difference = (given - wanted).abs().max().item()
        # max() would drop a NaN.
        largest = difference if not difference <= largest else largest
        magnitude = max(magnitude, wanted.abs().max().item())
    return Difference(largest, magnitude)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
