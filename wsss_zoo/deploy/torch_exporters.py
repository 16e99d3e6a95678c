"""PyTorch's exporters, set up for networks that take any image size."""

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from timm.layers import padding
from torch import Tensor, nn

from wsss_zoo.deploy.position_embedding import free_grids

Run = Callable[[Tensor], Tensor]

_OPSET = 18
# Batch, height, width of the exporters' example.
EXAMPLE = (2, 96, 128)


def example_image(count: int, height: int, width: int) -> Tensor:
    """Make random images (N, 3, H, W) in [0, 1], the same in every call."""
    generator = torch.Generator().manual_seed(height)
    return torch.rand(count, 3, height, width, generator=generator)


def export_onnx(network: nn.Module, path: Path, metadata: dict[str, str]) -> Run:
    """Write an ONNX file by the TorchScript-based exporter; return a function that runs it.

    Raises:
        ImportError: If a package for ONNX is missing.
    """
    try:
        onnx, onnxruntime = map(importlib.import_module, ("onnx", "onnxruntime"))
    except ImportError as error:
        raise ImportError(
            f"ONNX needs a package that is missing ({error.name}): pip install 'wsss_zoo[export]'"
        ) from error
    axes = {0: "batch", 2: "height", 3: "width"}
    with _quiet(), free_grids(network):
        # Not dynamo=True: it freezes sizes that the padding to a stride depends on.
        torch.onnx.export(
            network,
            (example_image(*EXAMPLE),),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": axes, "logits": axes},
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def export_program(network: nn.Module, path: Path, metadata: dict[str, str]) -> Run:
    """Write a program of torch.export; return a function that runs it."""
    from torch.fx.experimental import _config

    size = torch.export.Dim.AUTO
    # Else the program is specialised to the example: a batch > 1, sides that the stride divides.
    free = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with _quiet(), _integer_padding(), free_grids(network), free, torch.no_grad():
        program = torch.export.export(
            network,
            (example_image(*EXAMPLE),),
            dynamic_shapes={"image": {0: size, 2: size, 3: size}},
        )
        torch.export.save(program, path, extra_files={"wsss_zoo.json": json.dumps(metadata)})
        run = torch.export.load(path).module()
    return lambda image: run(image).detach()


@contextmanager
def _integer_padding() -> Iterator[None]:
    """Let timm's "same" padding use integers: torch.export cannot save its ``math.ceil``."""
    original = padding.get_same_padding

    def same(x: int, kernel_size: int, stride: int, dilation: int) -> int:
        return max(
            (x + stride - 1) // stride * stride - stride + (kernel_size - 1) * dilation + 1 - x, 0
        )

    padding.get_same_padding = same
    try:
        yield
    finally:
        padding.get_same_padding = original


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings: the result is checked."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
