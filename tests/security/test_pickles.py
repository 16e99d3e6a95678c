import json
import pickle

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.data.graph_folders import grid_graph
from tests.each import each
from tests.methods.zoo import CASES, make_method
from tests.report.run_folders import config
from tests.security.hostile import Bomb
from wsss_zoo import methods
from wsss_zoo.callbacks import NoiseDetector
from wsss_zoo.cli import main
from wsss_zoo.data.reading.official_masks import read_matrix
from wsss_zoo.files.pseudo_labels import cam_path, read_cam
from wsss_zoo.files.region_graphs import graph_path, read_graph

WEIGHTS = [".pth", ".pt", ".ckpt", ".bin", ".tar", ".safetensors"]


def save_bomb(path, marker):
    """A checkpoint as ``torch.save`` writes it, with a bomb beside the weights."""
    content = {"state_dict": {"a": torch.zeros(1)}, "bomb": Bomb(marker)}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    return str(path)


def test_the_bomb_is_one(tmp_path):
    torch.load(save_bomb(tmp_path / "a.pth", tmp_path / "made"), weights_only=False)
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
@each("legacy", [False, True])
def test_checkpoints_of_the_trainer(command, legacy, tmp_path, marker, capsys):
    path = save_bomb(tmp_path / "last.ckpt", marker)
    if legacy:
        (tmp_path / "last.ckpt").write_bytes(pickle.dumps(Bomb(marker)))
    args = ["--model", "Supervised", "--data", "Shapes", "--trainer.max_steps", "1"]
    args += ["--trainer.default_root_dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as exit_info:
        main([command, *args, "--ckpt_path", path])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "give another" in error if legacy else "cannot be read as a checkpoint" in error


@pytest.mark.parametrize("command", ["label", "export"])
def test_checkpoints_of_label_and_export(command, tmp_path, marker, capsys):
    path = save_bomb(tmp_path / "last.ckpt", marker)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    args = {
        "label": [str(tmp_path / "images"), "--out", str(tmp_path / "out")],
        "export": ["--format", "onnx", "--out", str(tmp_path / "a.onnx")],
    }[command]
    with pytest.raises((SystemExit, ValueError)) as failure:
        main([command, *args, "--ckpt_path", path])
    said = capsys.readouterr().err + str(failure.value)
    assert f"{path} cannot be read as a checkpoint" in said


def test_run_taken_by_a_pipeline(tmp_path, marker, capsys):
    run = tmp_path / "foreign"
    save_bomb(run / "checkpoints" / "last.ckpt", marker)
    (run / "config.yaml").write_text(yaml.safe_dump(config()))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"steps": {"one": {"command": "fit"}}}))
    root = ["--root", str(tmp_path / "root")]
    with pytest.raises(SystemExit) as caught:
        main(["pipeline", str(recipe), *root, "--use", f"one={run}"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert f"{run / 'checkpoints' / 'last.ckpt'} cannot be read as a checkpoint" in error


def arguments_that_are_files():
    """Every argument of every method that names a file of weights."""
    names = ("weights", "init_from", "partner_init_from")
    return [
        (case, name)
        for case, (kind, _) in CASES.items()
        for name in names
        if name in getattr(methods, kind).option_types()
    ]


@each(("case", "argument"), arguments_that_are_files())
def test_weights_of_every_method(case, argument, tmp_path, marker):
    path = save_bomb(tmp_path / "bomb.ckpt", marker)
    files = {argument: path}
    if case == "CPS" and argument != "weights":
        # Its networks take their weights from two files, or none does.
        torch.save({"state_dict": make_method(case).state_dict()}, tmp_path / "good.ckpt")
        good = str(tmp_path / "good.ckpt")
        files = {"init_from": good, "partner_init_from": good} | files
    with pytest.raises(ValueError, match=r"bomb\.ckpt .*never unpickled; save .*\.safetensors"):
        make_method(case, **files)


@each("suffix", WEIGHTS)
def test_weights_with_every_suffix(suffix, tmp_path, marker):
    path = save_bomb(tmp_path / f"bomb{suffix}", marker)
    with pytest.raises(ValueError, match=rf"bomb\{suffix} .*never unpickled; save .*\.safetensors"):
        make_method("Supervised", weights=path)


def test_weights_of_vgg(tmp_path, marker):
    path = save_bomb(tmp_path / "vgg16.pth", marker)
    with pytest.raises(ValueError, match=r"vgg16\.pth .*never unpickled"):
        methods.CoAttention(3, backbone="vgg16", output_stride=8, weights=path)


def test_arrays(tmp_path, marker):
    """An object array in the place of one array of a file that is whole otherwise."""
    bomb = np.array([Bomb(marker)], dtype=object)
    arrays = {**vars(grid_graph()), "x": bomb}
    np.savez(graph_path(tmp_path, "a"), **arrays)
    with pytest.raises(OSError, match=r"a\.npz is no region graph .*delete it and run"):
        read_graph(tmp_path, "a")
    cam_path(tmp_path, "a").parent.mkdir()
    np.savez(cam_path(tmp_path, "a"), cam=bomb, classes=np.zeros(1, dtype=np.int64))
    with pytest.raises(OSError, match=r"a\.npz cannot be read .*delete it and predict again"):
        read_cam(tmp_path, "a")


def test_pixels_of_a_noise_detector(tmp_path, marker):
    detector = NoiseDetector()
    detector._directory = tmp_path
    path = detector._pixels_of("a")
    path.parent.mkdir()
    np.savez(path, loss=np.array([Bomb(marker)], dtype=object), label=[0], is_correct=[True])
    with pytest.raises(OSError, match=r"a\.npz cannot be read .*delete it and predict again"):
        detector._read_pixels("a")


def test_matrices(tmp_path, marker):
    (tmp_path / "a.mat").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(OSError, match=r"a\.mat cannot be read"):
        read_matrix(str(tmp_path / "a.mat"), "LabelMap")


@pytest.mark.parametrize("name", ["metrics.csv", "val_results.json", "pictures/val_epoch000.png"])
def test_runs_to_compare(name, tmp_path, marker):
    run = tmp_path / "runs" / "a"
    (run / "pictures").mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config()))
    (run / name).write_bytes(pickle.dumps(Bomb(marker)))
    save_bomb(run / "checkpoints" / "last.ckpt", marker)
    out = ["--html", str(tmp_path / "report.html"), "--json", str(tmp_path / "report.json")]
    assert main(["compare", str(run), *out]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["runs"][0]["problems"]
