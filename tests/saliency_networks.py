"""Tiny ONNX networks in place of a saliency network: brightness, and what is no such network."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Weight of each channel of the input.
WEIGHTS = (0.2, 0.5, 0.3)


def save_network(
    path: Path,
    *,
    shape: Sequence[int | str] = (1, 3, 320, 320),
    squeeze: bool = False,
    maps: int = 1,
    kind: int = TensorProto.FLOAT,
    inputs: int = 1,
    divide: bool = False,
) -> Path:
    """Save a network whose first output is the sigmoid of a weighted sum of the channels.

    Args:
        path: File to write.
        shape: Declared shape of the input.
        squeeze: Leave the channel of the map out.
        maps: Channels of the map.
        kind: Type of the input.
        inputs: Number of inputs; the network ignores all but the first.
        divide: Divide the map by 0.
    """
    weight = np.tile(np.reshape(WEIGHTS, (1, 3, 1, 1)), (maps, 1, 1, 1)).astype(np.float32)
    constants = [numpy_helper.from_array(weight, "weight")]
    # Older versions of onnxruntime abort on a convolution of an image without a batch.
    batch = "float" if len(shape) == 4 else "batch"
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", [batch, "weight"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["saliency"]),
    ]
    if batch == "batch":
        constants.append(numpy_helper.from_array(np.array([0]), "first"))
        nodes.insert(1, helper.make_node("Unsqueeze", ["float", "first"], ["batch"]))
    last = "saliency"
    if squeeze:
        constants.append(numpy_helper.from_array(np.array([1]), "axis"))
        nodes.append(helper.make_node("Squeeze", [last, "axis"], ["squeezed"]))
        last = "squeezed"
    if divide:
        constants.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
        nodes.append(helper.make_node("Div", [last, "zero"], ["divided"]))
        last = "divided"
    others = [
        helper.make_tensor_value_info(f"other{i}", TensorProto.FLOAT, [1]) for i in range(inputs)
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, shape), *others[1:]],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in dict.fromkeys([last, "sum"])
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path
