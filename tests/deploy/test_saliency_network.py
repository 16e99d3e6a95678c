"""Saliency by an ONNX network: its input against rembg's steps, its map, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from tests.each import each
from tests.saliency_networks import WEIGHTS, save_network
from wsss_zoo.deploy import saliency_network
from wsss_zoo.deploy.saliency_network import SaliencyNetwork


def photo(height=30, width=44, seed=0, highest=256):
    """A bright disc on a darker ground."""
    rows, columns = np.indices((height, width))
    image = np.random.default_rng(seed).integers(0, highest // 3, (height, width, 3))
    image[np.hypot(rows - height / 2, columns - width / 3) < height / 3] += highest // 2
    return image.astype(np.uint8)


def expected(image, side=320, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    """The map of the tiny network by the steps of rembg, one after the other."""
    small = np.array(Image.fromarray(image).resize((side, side), Image.LANCZOS))
    small = small / np.max(small)
    total = np.zeros((side, side))
    for channel in range(3):
        total += WEIGHTS[channel] * (small[:, :, channel] - mean[channel]) / std[channel]
    pred = 1 / (1 + np.exp(-total))
    pred = (pred - pred.min()) / (pred.max() - pred.min())
    mask = Image.fromarray((pred * 255).astype("uint8"))
    return np.array(mask.resize((image.shape[1], image.shape[0]), Image.LANCZOS))


@pytest.mark.parametrize(
    ("options", "preprocessing", "settings"),
    [
        ({}, "u2net", {}),
        ({"squeeze": True, "shape": ("n", 3, "h", "w")}, "u2net", {}),
        (
            {"shape": (1, 3, 1024, 1024)},
            "isnet",
            {"side": 1024, "mean": (0.5,) * 3, "std": (1.0,) * 3},
        ),
    ],
    ids=["fixed", "free", "isnet"],
)
def test_map_is_that_of_rembgs_steps(tmp_path, options, preprocessing, settings):
    network = SaliencyNetwork(save_network(tmp_path / "a.onnx", **options), preprocessing, 1)
    for image in (photo(), photo(61, 17, seed=1, highest=90)):
        saliency = network(image)
        assert saliency.dtype == np.uint8
        # float32 against float64: a value may be cut off on the other side.
        assert np.abs(saliency.astype(int) - expected(image, **settings)).max() <= 1
        assert np.ptp(saliency) > 150


def test_values_of_no_sigmoid_are_named(tmp_path, caplog):
    path = save_network(tmp_path / "a.onnx")
    SaliencyNetwork(path)
    assert caplog.text == ""
    model = onnx.load(str(path))
    model.graph.node.append(onnx.helper.make_node("Log", ["saliency"], ["logits"]))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
    onnx.save(model, str(path))
    SaliencyNetwork(path)
    assert "values from -0.693 to -0.693, while a saliency map is the output of a" in caplog.text


@each("value", [0, 77, 255])
def test_image_of_one_colour_has_no_saliency(tmp_path, value):
    network = SaliencyNetwork(save_network(tmp_path / "a.onnx"))
    assert not network(np.full((9, 12, 3), value, np.uint8)).any()


def test_map_that_is_not_finite(tmp_path):
    network = SaliencyNetwork(save_network(tmp_path / "a.onnx", divide=True))
    with pytest.raises(ValueError, match="not finite"):
        network(photo())


@each(
    ("options", "message"),
    [
        (
            {"shape": (1, 3, 224, 224)},
            r"has the inputs image: tensor\(float\) \[1, 3, 224, 224\]; a saliency network has one "
            r"input \(1, 3, 320, 320\) of tensor\(float\) for preprocessing 'u2net'",
        ),
        ({"shape": (4, 3, 320, 320)}, "has the inputs"),
        ({"shape": (3, 320, 320)}, r"has the inputs image: tensor\(float\) \[3, 320, 320\]"),
        ({"kind": TensorProto.FLOAT16}, r"image: tensor\(float16\)"),
        ({"inputs": 2}, r"other1: tensor\(float\) \[1\]"),
        ({"maps": 2}, r"the first one is float32 \(1, 2, 320, 320\); a saliency network gives one"),
    ],
)
def test_other_networks_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        SaliencyNetwork(save_network(tmp_path / "a.onnx", **options))


def test_network_that_gives_a_vector(tmp_path):
    path = save_network(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    model.graph.node.append(
        onnx.helper.make_node("GlobalMaxPool", ["saliency"], ["scores"]),
    )
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("scores", TensorProto.FLOAT, None))
    onnx.save(model, str(path))
    with pytest.raises(ValueError, match=r"has the outputs scores: .*float32 \(1, 1, 1, 1\)"):
        SaliencyNetwork(path)


def test_what_is_no_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.onnx"):
        SaliencyNetwork(tmp_path / "b.onnx")
    (tmp_path / "b.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"b\.onnx cannot be loaded by onnxruntime \("):
        SaliencyNetwork(tmp_path / "b.onnx")


def test_missing_onnxruntime_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    path = save_network(tmp_path / "a.onnx")
    monkeypatch.setattr(saliency_network.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'wsss_zoo\[saliency\]'"):
        SaliencyNetwork(path)


def test_gpu_is_used_where_onnxruntime_can(tmp_path, monkeypatch):
    network = SaliencyNetwork(save_network(tmp_path / "a.onnx"))
    assert network.use_gpu(0) is False
    opened = []

    class Session:
        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def open_session(providers):
        opened.append(providers)
        return Session()

    monkeypatch.setattr(network, "_open", open_session)
    monkeypatch.setattr(
        network._runtime, "get_available_providers", lambda: ["CUDAExecutionProvider"]
    )
    assert network.use_gpu(1) is True
    assert opened == [[("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]]
