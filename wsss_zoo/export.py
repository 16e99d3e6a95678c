"""``wsss-zoo export``: the evaluated network of a checkpoint, for use without this package."""

import copy
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsss_zoo.atomic import replacing
from wsss_zoo.cli_checks import short_message
from wsss_zoo.plain_checkpoint import save_plain
from wsss_zoo.torch_exporters import EXAMPLE, Run, example_image, export_onnx, export_program
from wsss_zoo.trained_segmenter import TrainedSegmenter, load_segmenter

os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

Format = Literal["onnx", "torch_export", "supervised"]

_SUFFIXES: dict[Format, str] = {
    "onnx": ".onnx",
    "torch_export": ".pt2",
    "supervised": ".supervised.ckpt",
}
# Batch, height, width of the check: other than what exporters see in all of them, and no multiples
# of a stride.
_SIZES = ((1, 213, 320), (3, 161, 100), (1, 64, 224))
_USAGE = "wsss-zoo export --ckpt_path FILE --format FORMAT [options]"
_DESCRIPTION = """Save the evaluated network of a checkpoint as a file of its own.

Formats: onnx, torch_export, and supervised: a checkpoint of the plain network as Supervised trains
it, without exits, averages and second networks, for --ckpt_path of validate, predict and label and
for --model.init_from of any segmenter.

Of the first two the input is "image": (N, 3, H, W) float32, RGB in [0, 1], any N, H and W; the
network normalises it. Output "logits": (N, C, H, W) float32; the class of a pixel is the largest
of its C values, softmax over them gives probabilities. The file is written only if it gives the
same as PyTorch at three sizes. It names the classes: an ONNX file, made by PyTorch's
TorchScript-based exporter, in metadata_props; one of torch.export, which takes up to a minute, in
its extra file wsss_zoo.json."""


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print a message without pages of usage and end the process with code 2."""
        sys.stderr.write(f"wsss-zoo export: error: {short_message(message)}\n")
        sys.stderr.write("wsss-zoo export --help lists all options\n")
        sys.exit(2)


class Difference(NamedTuple):
    """How far an exported network is from PyTorch's.

    Args:
        largest: Largest difference of two logits.
        magnitude: Largest absolute logit.
    """

    largest: float
    magnitude: float


def main(args: list[str]) -> int:
    """Export a checkpoint.

    Args:
        args: Arguments after the command's name.

    Returns:
        1 if a package is missing or the result is wrong, 2 for wrong arguments, else 0.
    """
    parser = _Parser(usage=_USAGE, description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint of a segmenter")
    parser.add_argument("--format", type=Format, required=True, help="kind of file")
    parser.add_argument(
        "--out", type=str | None, help="file to write; default: beside the checkpoint"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="difference to PyTorch that is accepted, as a share of the largest logit (at least 1)",
    )
    parser.add_argument(
        "--classes", type=str | None, help="class list with other names than in the checkpoint"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        help="method, where the checkpoint does not say it or says one of your own",
    )
    options = parser.parse_args(args)
    try:
        trained = load_segmenter(options.ckpt_path, "export", options.classes, options.model)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    out = Path(options.out or Path(options.ckpt_path).with_suffix(_SUFFIXES[options.format]))
    if options.format == "supervised":
        save_plain(options.ckpt_path, trained.method, out)
        print(f"{out}: the plain network of a {type(trained.method).__name__}")
        return 0
    try:
        found = export_segmenter(trained, out, options.format, options.tolerance)
    except ImportError as error:
        print(f"wsss-zoo export: error: {error}", file=sys.stderr)
        return 1
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

    Args:
        trained: The method; networks that ``forward`` does not run (teachers, second branches) are
            left out.
        out: File to write; it appears complete and checked, or not at all.
        format: "onnx", by ``torch.onnx``'s TorchScript-based exporter, or "torch_export".
        tolerance: Accepted difference of two logits, as a share of the largest one (at least 1).

    Returns:
        The largest difference over all sizes.

    Raises:
        ImportError: If a package for ONNX is missing.
        ValueError: If the file gives something else than PyTorch.
    """
    network = _Forward(trained.method)
    images = [example_image(*size) for size in _SIZES]
    with torch.no_grad():
        expected = [network(image) for image in images]
        _drop_unused(network)
    export: Callable[[nn.Module, Path, dict[str, str]], Run]
    export = export_onnx if format == "onnx" else export_program
    with replacing(out, _SUFFIXES[format]) as unfinished:
        run = export(network, unfinished, _metadata(trained))
        found = _compare(run, images, expected)
        # Also refuses NaN.
        if not found.largest <= tolerance * max(1.0, found.magnitude):
            raise ValueError(
                f"the exported network differs from PyTorch by {found.largest:.1e} in logits of up "
                f"to {found.magnitude:.3g}, more than --tolerance {tolerance} of that; nothing was "
                "written. Try the other format"
            )
    return found


class _Forward(nn.Module):
    """A copy of a method that does nothing but run the network."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = copy.deepcopy(method).eval().requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.method.forward(image)
        return logits


# Torch has no types for this class.
class _Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the memory of every tensor that an operation reads."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.memory.add(value.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def _drop_unused(network: nn.Module) -> None:
    """Take out the parameters and buffers that the forward pass does not read."""
    with _Touched() as touched:
        network(example_image(*EXAMPLE))
    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            for name, value in tensors.items():
                if value is not None and value.untyped_storage().data_ptr() not in touched.memory:
                    tensors[name] = None


def _metadata(trained: TrainedSegmenter) -> dict[str, str]:
    return {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "method": type(trained.method).__name__,
        "image": "(N, 3, H, W) float32, RGB in [0, 1]",
        "logits": "(N, C, H, W) float32, before softmax over C",
    }


def _compare(run: Run, images: Sequence[Tensor], expected: Sequence[Tensor]) -> Difference:
    largest = magnitude = 0.0
    for image, wanted in zip(images, expected, strict=True):
        given = run(image)
        if given.shape != wanted.shape:
            raise ValueError(
                f"the exported network gives {tuple(given.shape)} for an image of "
                f"{tuple(image.shape)}, PyTorch {tuple(wanted.shape)}; nothing was written. Try "
                "the other format"
            )
        difference = (given - wanted).abs().max().item()
        # max() would drop a NaN.
        largest = difference if not difference <= largest else largest
        magnitude = max(magnitude, wanted.abs().max().item())
    return Difference(largest, magnitude)
