"""``wsss-zoo saliency`` against bare ONNX Runtime on one thread; a network as slow as U2-Net."""

from itertools import pairwise
from pathlib import Path
from time import process_time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.benchmarks.test_crf_benchmark import photo
from wsss_zoo.cli import main

LAYERS, CHANNELS = 50, 32
FEW, MANY = 1, 6


def save_slow_network(path: Path) -> None:
    """Convolutions at full size, (1, 3, 320, 320) to a map."""
    generator = np.random.default_rng(0)
    sizes = [3, *[CHANNELS] * LAYERS, 1]
    nodes, weights, last = [], [], "image"
    for number, (before, after) in enumerate(pairwise(sizes)):
        weight = generator.normal(0, (2 / before / 9) ** 0.5, (after, before, 3, 3))
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        conv, relu = f"conv{number}", f"relu{number}"
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [conv], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [conv], [relu]))
        last = relu
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 320, 320))],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, (1, 1, 320, 320))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


@pytest.mark.benchmark
def test_command(measured, tmp_path):
    """Images of 500 x 375 pixels; what a start costs is left out, by two numbers of images."""
    save_slow_network(tmp_path / "slow.onnx")
    image = Image.fromarray(photo("coffee"))
    for count in (FEW, MANY):
        (tmp_path / f"{count}").mkdir()
        for number in range(count):
            image.save(tmp_path / f"{count}" / f"{number}.jpg", quality=90)

    def command(count: int) -> float:
        args = [str(tmp_path / f"{count}"), "--model_path", str(tmp_path / "slow.onnx")]
        args += ["--num_threads", "1", "--num_workers", "0", "--trainer.accelerator", "cpu"]
        start = process_time()
        assert main(["saliency", *args, "--overwrite", "true"]) == 0
        return process_time() - start

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(tmp_path / "slow.onnx"), options, providers=["CPUExecutionProvider"]
    )
    prepared = np.random.default_rng(0).random((1, 3, 320, 320), dtype=np.float32)

    def bare() -> float:
        start = process_time()
        for _ in range(MANY - FEW):
            session.run(None, {"image": prepared})
        return process_time() - start

    command(FEW), bare()
    # In turns, so that other load slows both.
    ratios = [(command(MANY) - command(FEW)) / bare() for _ in range(3)]
    measured("seconds of the network an image", bare() / (MANY - FEW))
    measured("command / bare ONNX Runtime", float(np.median(ratios)), at_most=1.05)
