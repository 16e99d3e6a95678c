"""A saliency network in an ONNX file: what it takes, what it gives, and how images get there."""

import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss_zoo.files.decoding import UInt8Array

logger = logging.getLogger(__name__)

#: Named sets of what a network expects of its input.
Preprocessing = Literal["u2net", "isnet"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FLOAT = "tensor(float)"


@dataclass(frozen=True)
class Preparation:
    """How an RGB image becomes the input of a network, (1, 3, side, side) float32.

    The image is resized with Lanczos' filter, divided by its largest value, and normalised by mean
    and standard deviation.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: UInt8Array) -> NDArray[np.float32]:
        """Prepare an image, (H, W, 3)."""
        resized = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.LANCZOS)
        pixels = np.asarray(resized) / max(float(np.asarray(resized).max()), 1.0)
        normalised = (pixels - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], dtype=np.float32)


PREPARATIONS: dict[Preprocessing, Preparation] = {
    # xuebinqin/U-2-Net, U2-Net and U2-Net-p; as rembg runs it.
    "u2net": Preparation(320, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # xuebinqin/DIS, IS-Net; as rembg runs it.
    "isnet": Preparation(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
}


class SaliencyNetwork:
    """Saliency maps of images by an ONNX network with one input and a map as its first output.

    Args:
        path: ONNX file.
        preprocessing: What the network expects of its input.
        num_threads: Threads of ONNX Runtime; 0 for its default, one per core.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If ONNX Runtime is not installed.
        ValueError: If the file is no ONNX network, or takes or gives something else.
    """

    def __init__(
        self, path: Path, preprocessing: Preprocessing = "u2net", num_threads: int = 0
    ) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; give an ONNX saliency network")
        try:
            self._runtime: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise ImportError(
                "saliency maps need onnxruntime, which is missing: pip install 'wsss_zoo[saliency]'"
            ) from error
        self.path, self.num_threads = path, num_threads
        self.preparation = PREPARATIONS[preprocessing]
        self._session = self._open([_CPU])
        self._input, self._output = self._check(preprocessing)

    def use_gpu(self, index: int) -> bool:
        """Run on a CUDA device, if this ONNX Runtime can; tells whether it does."""
        if _CUDA not in self._runtime.get_available_providers():
            return False
        self._session = self._open([(_CUDA, {"device_id": index}), _CPU])
        return _CUDA in self._session.get_providers()

    def __call__(self, image: UInt8Array) -> UInt8Array:
        """Compute the saliency of an image (H, W, 3), (H, W) uint8.

        The network's map is stretched to 0..255, and resized to the image with Lanczos' filter. A
        constant map, in which nothing stands out, gives 0.

        Raises:
            ValueError: If the map has values that are not finite.
        """
        inputs = {self._input: self.preparation(image)}
        saliency = np.squeeze(self._session.run([self._output], inputs)[0])
        lowest, highest = float(saliency.min()), float(saliency.max())
        if not np.isfinite([lowest, highest]).all():
            raise ValueError("the network's map has values that are not finite")
        stretched = (saliency - lowest) / ((highest - lowest) or 1.0)
        grey = Image.fromarray((stretched * 255).astype(np.uint8))
        size = (image.shape[1], image.shape[0])
        return np.asarray(grey.resize(size, Image.Resampling.LANCZOS))

    def _open(self, providers: list[Any]) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.log_severity_level = 3  # errors
        try:
            return self._runtime.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime's errors are classes of its C++ part
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{self.path} cannot be loaded by onnxruntime ({reason}); give an ONNX network"
            ) from error

    def _check(self, preprocessing: str) -> tuple[str, str]:
        """Check inputs and outputs by their declarations and by a run; return the names in use."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        side = self.preparation.side
        wanted = f"one input (1, 3, {side}, {side}) of {_FLOAT} for preprocessing {preprocessing!r}"
        if len(inputs) != 1 or not _fits(inputs[0], (1, 3, side, side)):
            raise ValueError(
                f"{self.path} has the inputs {_listed(inputs)}; a saliency network has {wanted}"
            )
        try:
            found = self._session.run(
                [outputs[0].name], {inputs[0].name: np.zeros((1, 3, side, side), np.float32)}
            )[0]
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{self.path} cannot be run with {wanted}: {reason}") from error
        shape, kind = getattr(found, "shape", ()), getattr(found, "dtype", type(found).__name__)
        is_map = len(shape) in (3, 4) and set(shape[:-2]) == {1} and min(shape) > 0
        if not is_map or 1 in shape[-2:] or kind != np.float32:
            raise ValueError(
                f"{self.path} has the outputs {_listed(outputs)}, and the first one is {kind} "
                f"{tuple(shape)}; a saliency network gives one map first, (1, 1, h, w) or "
                "(1, h, w) of float32"
            )
        if found.min() < 0 or found.max() > 1:
            logger.warning(
                "%s gives values from %.3g to %.3g, while a saliency map is the output of a "
                "sigmoid, from 0 to 1; they are stretched as they are. If they are logits, export "
                "the network with a sigmoid as its last layer",
                self.path,
                found.min(),
                found.max(),
            )
        return inputs[0].name, outputs[0].name


def _fits(declared: Any, shape: tuple[int, ...]) -> bool:
    # A size that is free is a name or None.
    pairs = zip(declared.shape, shape, strict=False)
    sizes = len(declared.shape) == len(shape) and all(
        not isinstance(given, int) or given == wanted for given, wanted in pairs
    )
    return declared.type == _FLOAT and sizes


def _listed(values: Any) -> str:
    return ", ".join(f"{v.name}: {v.type} {list(v.shape)}" for v in values) or "none"
