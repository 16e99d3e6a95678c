import pytest
import timm
import torch

from tests.checkpoints import NAMES, save_checkpoint
from tests.cli.test_main import TINY
from wsss_zoo import CAM, CPS, Supervised
from wsss_zoo.cli import ZooCLI
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter


class OwnSegmenter(Supervised):
    """A user's method, named by its path."""


class Method:
    """None of the package's."""


@pytest.fixture
def method():
    return Supervised(3, backbone="test_resnet", architecture="largefov", output_stride=8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.ckpt"


def test_what_fit_writes(tmp_path):
    root = ["--trainer.default_root_dir", str(tmp_path), "--trainer.max_steps", "1"]
    cli = ZooCLI(["fit", "--model", "Supervised", *TINY, *root, "--trainer.limit_val_batches", "0"])
    trained = load_segmenter(str(tmp_path / "checkpoints" / "last.ckpt"))
    assert type(trained.method) is Supervised
    assert not trained.method.training
    assert dict(trained.method.hparams)["backbone"] == "test_resnet"
    assert trained.class_names == cli.datamodule.class_names
    assert trained.background
    assert trained.names_known
    image = torch.rand(1, 3, 40, 50)
    torch.testing.assert_close(trained.method(image), cli.model.eval()(image))


def test_names(path, method, tmp_path):
    trained = load_segmenter(save_checkpoint(path, method, ["sky", "sea", "sun"]))
    assert trained.class_names == ["sky", "sea", "sun"]
    assert not trained.background
    names = tmp_path / "classes.txt"
    names.write_text("background 0 0 0\nA 1 1 1\nB 2 2 2\n")
    trained = load_segmenter(str(path), str(names))
    assert trained.class_names == ["background", "A", "B"]
    # What the data set was does not change with the names.
    assert not trained.background
    trained = load_segmenter(save_checkpoint(path, method), str(names))
    assert trained.background
    assert trained.names_known
    trained = load_segmenter(str(path))
    assert trained.class_names == ["class 0", "class 1", "class 2"]
    assert trained.background
    assert not trained.names_known
    names.write_text("A\nB\n")
    with pytest.raises(ValueError, match=r"names 2 classes, checkpoint .*a.ckpt has 3"):
        load_segmenter(str(path), str(names))
    with pytest.raises(FileNotFoundError):
        load_segmenter(str(path), str(tmp_path / "none.txt"))


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", 5, None])
def test_names_that_cannot_be_shown(name, path, method):
    save_checkpoint(path, method, ["background", "cat", name])
    with pytest.raises(ValueError, match=r"a.ckpt has 3 classes and as their names \['background"):
        load_segmenter(str(path))
    save_checkpoint(path, method, ["background", "cat"])
    with pytest.raises(ValueError, match=r"a.ckpt has 3 classes and as their names .*as classes"):
        load_segmenter(str(path))


def test_weights_that_are_no_numbers(path, method):
    with torch.no_grad():
        next(method.parameters())[0] = float("nan")
    save_checkpoint(path, method, NAMES)
    with pytest.raises(ValueError, match=r"a.ckpt: 1 of \d+ tensors are NaN or infinite"):
        load_segmenter(str(path))


def test_start_weights_are_not_asked_for(path, tmp_path, monkeypatch):
    """Neither those of a checkpoint that an older version wrote, nor what a stranger's names."""
    start = CPS(3, backbone="test_resnet")
    partner = str(tmp_path / "b.ckpt")
    torch.save({"state_dict": start.state_dict()}, partner)
    method = CPS(
        3,
        backbone="test_resnet",
        init_from=save_checkpoint(path, start, NAMES),
        partner_init_from=partner,
    )
    for changes in ({}, {"weights": "imagenet"}, {"init_from": "/dev/zero"}):
        save_checkpoint(path, method, NAMES, **({"init_from": None} | changes))
        monkeypatch.setattr("timm.create_model", refuse_downloads(timm.create_model))
        assert type(load_segmenter(str(path)).method) is CPS
    checkpoint = {"hyper_parameters": dict(method.hparams)}
    method.on_save_checkpoint(checkpoint)
    held = checkpoint["hyper_parameters"]
    assert [held[name] for name in ("weights", "init_from", "partner_init_from")] == [None] * 3


def refuse_downloads(create):
    def create_without(*args, pretrained=False, **options):
        assert not pretrained
        return create(*args, pretrained=pretrained, **options)

    return create_without


def test_method_by_path_and_by_option(path, method):
    own = f"{__name__}.OwnSegmenter"
    save_checkpoint(path, method, NAMES, _class_path=own)
    assert type(load_segmenter(str(path)).method) is OwnSegmenter
    save_checkpoint(path, method, NAMES, _class_path="wsss_zoo.methods.elsewhere.Supervised")
    assert type(load_segmenter(str(path)).method) is Supervised
    # As Trainer.save_checkpoint does from Python.
    saved = torch.load(save_checkpoint(path, method, NAMES), weights_only=True)
    del saved["hyper_parameters"]["_class_path"]
    torch.save(saved, path)
    with pytest.raises(ValueError, match=r"does not say which method .*as model: .*Supervised"):
        load_segmenter(str(path))
    assert type(load_segmenter(str(path), model="Supervised").method) is Supervised


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_path": "gone.Method"}, "of the method 'gone.Method'.*--model gone.Method"),
        ({"_class_path": "pathlib.Path"}, "'pathlib.Path', which is none of wsss_zoo's"),
        ({"colour": "red"}, "does not fit Supervised of this version: .*colour"),
        ({"num_classes": 4}, "does not fit Supervised of this version"),
    ],
)
def test_refused(path, method, changes, message):
    save_checkpoint(path, method, NAMES, **changes)
    with pytest.raises(ValueError, match=message):
        load_segmenter(str(path))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gone.Method", "model gone.Method cannot be imported"),
        ("pathlib.Method", "model pathlib.Method cannot be imported"),
        (f"{__name__}.Method", "model .*Method is no method of wsss_zoo; there are: .*CPS"),
    ],
)
def test_refused_though_asked_for(path, method, asked, message):
    save_checkpoint(path, method, NAMES, _class_path="elsewhere.Method")
    with pytest.raises(ValueError, match=message):
        load_segmenter(str(path), model=asked)


def test_no_segmenter(path):
    save_checkpoint(path, CAM(3, backbone="test_resnet"), NAMES)
    with pytest.raises(ValueError, match=r"holds CAM, which .*a segmenter is needed.*Supervised"):
        load_segmenter(str(path))


def test_pretext(path):
    from wsss_zoo import CPC

    save_checkpoint(path, CPC(backbone="test_resnet", output_stride=8))
    with pytest.raises(ValueError, match=r"holds CPC, which makes no label maps.*model.weights"):
        load_segmenter(str(path))


def test_corrector_of_labels(path):
    from wsss_zoo import GATCorrector

    save_checkpoint(path, GATCorrector(3, in_channels=4), NAMES)
    with pytest.raises(
        ValueError, match=r"holds GATCorrector, which labels region graphs.*predict.*Supervised"
    ):
        load_segmenter(str(path))


def test_no_checkpoint(path):
    path.write_text("no")
    with pytest.raises(ValueError, match="is no checkpoint"):
        load_segmenter(str(path))
