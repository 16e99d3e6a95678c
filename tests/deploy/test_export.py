import importlib
import json

import numpy as np
import pytest
import torch

from tests.checkpoints import NAMES, save_checkpoint, with_opinions
from wsss_zoo import CAM, CPS, MeanTeacher, Supervised
from wsss_zoo.arguments.checks import subclasses
from wsss_zoo.cli import main
from wsss_zoo.deploy import export as exporting
from wsss_zoo.deploy import torch_exporters
from wsss_zoo.deploy.export import export_segmenter
from wsss_zoo.methods import BaseMethod
from wsss_zoo.runs.checkpoints.segmenter import TrainedSegmenter, load_segmenter

SEGMENTERS = [
    name
    for name, kind in subclasses(BaseMethod).items()
    if kind.output == "segmentation"
    and kind.supervision != "graphs"
    and kind.__module__.startswith("wsss_zoo.")
]
SMALL = {"backbone": "test_resnet", "architecture": "largefov", "output_stride": 8}


def segmenter(kind=Supervised, **options):
    torch.manual_seed(0)
    method = with_opinions(kind(3, **(SMALL | options))).eval()
    return TrainedSegmenter(method, NAMES, True, True)


def run_onnx(path, image):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [argument.name for argument in session.get_inputs()] == ["image"]
    assert [argument.name for argument in session.get_outputs()] == ["logits"]
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def size_of(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"architecture": "deeplabv3plus", "output_stride": 16},
        {"backbone": "test_efficientnet", "architecture": "deeplabv3plus"},
    ],
)
def test_onnx(tmp_path, options):
    onnx = pytest.importorskip("onnx")
    trained = segmenter(**options)
    found = export_segmenter(trained, tmp_path / "sub" / "a.onnx", "onnx")
    assert found.largest < 1e-4
    assert found.magnitude > 0.01
    for size in ((1, 37, 53), (2, 80, 64), (1, 1, 1)):
        image = torch.rand(size[0], 3, *size[1:])
        with torch.no_grad():
            expected = trained.method(image)
        torch.testing.assert_close(
            run_onnx(tmp_path / "sub" / "a.onnx", image), expected, rtol=1e-4, atol=1e-4
        )
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.onnx"]
    properties = {p.key: p.value for p in onnx.load(tmp_path / "sub" / "a.onnx").metadata_props}
    assert json.loads(properties["class_names"]) == NAMES
    assert properties["method"] == "Supervised"
    # The method itself is as it was.
    assert all(parameter.requires_grad for parameter in trained.method.parameters())


# A decoder of proposals that is as small as the network.
PROPOSALS = {"queries": 7, "channels": 16, "decoder_layers": 2, "feedforward": 24}


def make(name):
    torch.manual_seed(0)
    options = PROPOSALS if name in ("MaskFormer", "SimFormer") else {}
    return with_opinions(subclasses(BaseMethod)[name](3, backbone="test_resnet", **options)).eval()


# Those of the others are exported that evaluate by the same function, on a network of the same
# modules.
LIKE = {
    "SelfRegulation": "Supervised",
    **dict.fromkeys(
        ("CPS", "MeanTeacher", "PiModel", "PseudoSeg", "TemporalEnsembling", "UniMatch"), "FixMatch"
    ),
}


@pytest.mark.parametrize("name", LIKE)
def test_segmenters_that_are_exported_as_another(name):
    method, other = make(name), make(LIKE[name])
    assert type(method).forward is type(other).forward
    modules = ([(key, type(m)) for key, m in x.network.named_modules()] for x in (method, other))
    assert next(modules) == next(modules)


@pytest.mark.parametrize("name", [name for name in SEGMENTERS if name not in LIKE])
def test_every_segmenter(tmp_path, name):
    """The file is checked against PyTorch before it is there."""
    pytest.importorskip("onnxruntime")
    trained = TrainedSegmenter(make(name), NAMES, True, True)
    assert export_segmenter(trained, tmp_path / "a.onnx", "onnx").magnitude > 0.01
    assert (tmp_path / "a.onnx").exists()


def test_torch_export(tmp_path):
    """From the command line, of a method with a teacher: only what is evaluated is in the file."""
    method = segmenter(MeanTeacher, evaluate="average").method
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.zero_()
    checkpoint = save_checkpoint(tmp_path / "last.ckpt", method, NAMES)
    assert main(["export", "--ckpt_path", checkpoint, "--format", "torch_export"]) == 0
    extra = {"wsss_zoo.json": ""}
    program = torch.export.load(tmp_path / "last.pt2", extra_files=extra)
    assert json.loads(json.loads(extra["wsss_zoo.json"])["class_names"]) == NAMES
    run = program.module()
    for size in ((1, 37, 53), (3, 80, 64), (1, 1, 1)):
        image = torch.rand(size[0], 3, *size[1:])
        with torch.no_grad():
            expected = method(image)
            assert expected.abs().max() > 0.01
            torch.testing.assert_close(run(image), expected)
    weights = [*program.state_dict.values(), *program.constants.values()]
    assert size_of(weights) < 1.05 * size_of(method.average.state_dict().values())


@pytest.mark.parametrize(
    ("kind", "options"),
    [(CPS, {}), (MeanTeacher, {"evaluate": "average"}), (MeanTeacher, {"evaluate": "student"})],
)
def test_one_network_of_two(tmp_path, kind, options):
    onnx = pytest.importorskip("onnx")
    trained = segmenter(kind, **options)
    export_segmenter(trained, tmp_path / "a.onnx", "onnx")
    image = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        expected = trained.method(image)
    torch.testing.assert_close(run_onnx(tmp_path / "a.onnx", image), expected, rtol=1e-4, atol=1e-4)
    graph = onnx.load(tmp_path / "a.onnx").graph
    held = sum(np.prod(tensor.dims) for tensor in graph.initializer)
    one = sum(p.numel() for p in trained.method.network.parameters())
    both = sum(p.numel() for p in trained.method.parameters())
    assert held < 1.05 * one
    if kind is CPS:
        assert both > 1.9 * one


def test_command(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    method = segmenter().method
    checkpoint = save_checkpoint(tmp_path / "run" / "last.ckpt", method, NAMES)
    assert main(["export", "--ckpt_path", checkpoint, "--format", "onnx"]) == 0
    assert "last.onnx: at 320x213, 100x161, 224x64 pixels" in capsys.readouterr().out
    out = tmp_path / "model"
    assert main(["export", "--ckpt_path", checkpoint, "--format", "onnx", "--out", str(out)]) == 0
    assert load_segmenter(checkpoint).class_names == NAMES
    image = torch.rand(1, 3, 33, 21)
    with torch.no_grad():
        torch.testing.assert_close(run_onnx(out, image), method(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: lambda image: run(image) + 0.5, "differs from PyTorch by 5.0e-01 in logits"),
        (lambda run: lambda image: run(image) * torch.nan, "differs from PyTorch by nan in logits"),
        (lambda run: lambda image: run(image)[..., :-1], "gives .* for an image of"),
    ],
)
def test_wrong_result_is_refused(tmp_path, monkeypatch, change, message):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "a.onnx"
    out.write_text("an earlier one")
    right = exporting.export_onnx
    monkeypatch.setattr(exporting, "export_onnx", lambda *a: change(right(*a)))
    with pytest.raises(ValueError, match=message):
        export_segmenter(segmenter(), out, "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert out.read_text() == "an earlier one"


def test_missing_packages(tmp_path, monkeypatch, capsys):
    checkpoint = save_checkpoint(tmp_path / "last.ckpt", segmenter().method, NAMES)

    found = importlib.import_module

    def missing(name):
        if name.startswith("onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name)

    args = ["wsss-zoo", "export", "--ckpt_path", checkpoint, "--format", "onnx"]
    monkeypatch.setattr("sys.argv", args)
    monkeypatch.setattr(torch_exporters.importlib, "import_module", missing)
    assert main() == 1
    expected = "ONNX needs a package that is missing (onnx): pip install 'wsss_zoo[export]'"
    assert expected in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_classifier_and_wrong_arguments(tmp_path, capsys):
    checkpoint = save_checkpoint(tmp_path / "a.ckpt", CAM(3, backbone="test_resnet"), NAMES)
    for args, message in (
        (["--format", "onnx"], "holds CAM, which shows where tagged classes are"),
        (["--format", "tflite"], "tflite"),
        ([], "format"),
        (["--format", "onnx", "--out", str(tmp_path)], "a folder of that name is there; name"),
        (["--format", "onnx", "--out", f"{checkpoint}/x.onnx"], "x.onnx cannot be written: "),
        (["--format", "supervised", "--out", f"{checkpoint}/x"], "a.ckpt is a file; name another"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["export", "--ckpt_path", checkpoint, *args])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SelfRegulation", {}),
        ("SelfRegulation", {"architecture": "unet", "output_stride": 16, "exit_head": "full"}),
        ("FixMatch", {"evaluate": "average"}),
        ("CPS", {}),
    ],
)
def test_the_plain_network_is_a_checkpoint_of_supervised(tmp_path, capsys, kind, options):
    torch.manual_seed(0)
    method = with_opinions(subclasses(BaseMethod)[kind](3, **(SMALL | options))).eval()
    if method.average is not None:
        # The average is another network than the student.
        method.average.network.head.bias.data += 1
    path = save_checkpoint(tmp_path / "last.ckpt", method, NAMES)
    assert main(["export", "--ckpt_path", path, "--format", "supervised"]) == 0
    written = tmp_path / "last.supervised.ckpt"
    assert str(written) in capsys.readouterr().out
    plain = load_segmenter(str(written))
    assert type(plain.method) is Supervised
    assert plain.class_names == NAMES
    image = torch.rand(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(plain.method(image), method(image))
    again = Supervised(**(dict(plain.method.hparams) | {"init_from": str(written)})).eval()
    with torch.no_grad():
        assert torch.equal(again(image), method(image))
