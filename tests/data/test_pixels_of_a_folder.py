"""Images of more than 8 bits and of many bands, from the folder to the mask."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from tests.data.conftest import save_image, save_mask
from tests.tiny import NETWORK, QUIET
from wsss_zoo import Supervised
from wsss_zoo.cli import main
from wsss_zoo.data import Folder
from wsss_zoo.files.images.pixels import PixelOptions
from wsss_zoo.runs.checkpoints.segmenter import load_segmenter

RNG = np.random.default_rng(0)


@pytest.fixture
def camera(tmp_path):
    """Four images of 12 bits in 16, with masks."""
    root = tmp_path / "camera"
    for number in range(4):
        (root / "images").mkdir(parents=True, exist_ok=True)
        values = RNG.integers(0, 4096, (40, 60, 3)).astype(np.uint16)
        tifffile.imwrite(root / "images" / f"{number}.tif", values, photometric="rgb")
        save_mask(root / "masks" / f"{number}.png", [1])
    (root / "classes.txt").write_text("background\ncup\n")
    return root


def settings(root, **options):
    return Folder(
        str(root), val_fraction=0.25, crop_size=16, batch_size=2, num_workers=0, **options
    )


def inspect(root, tmp_path, *options):
    arguments = ["inspect", "--data", "Folder", "--data.root", str(root), *options]
    return main([*arguments, "--out", str(tmp_path / "sheet.png")])


MESSAGE = "of 4 images have more than 8 bits, with values from"


def test_what_is_white_must_be_stated(camera, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(ValueError, match=r"value_range, perhaps '\[0, 4095\]' \(--data\.value_"):
        settings(camera).setup("fit")
    assert inspect(camera, tmp_path) == 1
    text = capsys.readouterr().out
    assert f"4 {MESSAGE}" in text
    assert "errors: 1" in text
    assert inspect(camera, tmp_path, "--data.value_range", "[0, 4095]") == 0
    text = capsys.readouterr().out
    assert "images of more than 8 bits: 4, values 0 to 4095, black 0, white 4095" in text


@pytest.mark.parametrize("where", ["option", "classes.json"])
def test_the_range_is_kept_in_the_checkpoint(camera, where):
    options = {"value_range": [0, 4095]} if where == "option" else {}
    if where != "option":
        (camera / "classes.txt").unlink()
        content = {"classes": ["background", "cup"], "value_range": [0, 4095]}
        (camera / "classes.json").write_text(json.dumps(content))
    data = settings(camera, **options)
    data.setup("fit")
    stored = tifffile.imread(camera / "images" / "0.tif")
    np.testing.assert_array_equal(data.read_image("0"), np.rint(stored * (255 / 4095)))
    assert data.state_dict()["pixels"] == {"value_range": [0, 4095]}
    other = Folder(str(camera))
    other.load_state_dict(data.state_dict())
    assert other.pixels == PixelOptions((0, 4095))
    assert "pixels" not in Folder(str(camera)).state_dict() or where != "option"


def test_a_stated_range_wins_over_the_checkpoint_and_is_said(camera, caplog):
    data = settings(camera, value_range=[0, 65535])
    data.load_state_dict({"pixels": {"value_range": [0, 4095]}})
    assert data.pixels.value_range == (0, 65535)
    assert "value_range is [0, 65535], but the checkpoint was trained with [0, 4095]" in caplog.text


def checkpoint(path, pixels):
    method = Supervised(2, backbone="test_resnet")
    state = {"class_names": ["background", "cup"], "background": True, "pixels": pixels}
    content = {"state_dict": method.state_dict(), "hyper_parameters": dict(method.hparams)}
    content["hyper_parameters"]["_class_path"] = "wsss_zoo.Supervised"
    content |= {"pytorch-lightning_version": "2.6.0", "global_step": 1, "epoch": 0}
    torch.save(content | {"Folder": state}, path)
    return str(path)


def test_label_reads_as_the_training_did(camera, tmp_path, capsys):
    path = checkpoint(tmp_path / "a.ckpt", {"value_range": [0, 4095]})
    assert load_segmenter(path).pixels == PixelOptions((0, 4095))
    label = ["label", str(camera / "images"), "--trainer.accelerator", "cpu", "--num_workers", "0"]
    label += ["--out", str(tmp_path / "out"), "--opacity", "0.01"]
    assert main([*label, "--ckpt_path", path]) == 0
    with Image.open(tmp_path / "out" / "overlays" / "0.jpg") as overlay:
        assert 110 < np.asarray(overlay).mean() < 145
    plain = checkpoint(tmp_path / "b.ckpt", {})
    assert main([*label, "--ckpt_path", plain, "--overwrite"]) == 1
    assert "for label --value_range" in capsys.readouterr().err
    assert main([*label, "--ckpt_path", plain, "--overwrite", "--value_range", "[0, 4095]"]) == 0


def test_predict_reads_as_fit_did(camera, tmp_path):
    options = ["--data", "Folder", "--data.root", str(camera), "--data.val_fraction", "0"]
    options += ["--data.crop_size", "32", "--data.batch_size", "2", "--data.num_workers", "0"]
    options += [*NETWORK, *QUIET, "--trainer.default_root_dir", str(tmp_path / "run")]
    options += ["--model", "Supervised"]
    main(["fit", *options, "--data.value_range", "[0, 4095]", "--trainer.max_steps", "1"])
    saved = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert main(["predict", *options, "--ckpt_path", saved]) == 0
    assert len(list((tmp_path / "run" / "pseudo_labels").glob("*.png"))) == 4
    with pytest.raises(ValueError, match="nothing says which value is white"):
        main(["fit", *options, "--trainer.max_steps", "1"])


def test_near_infrared(tmp_path, capsys, caplog):
    root = tmp_path / "satellite"
    for number in range(3):
        (root / "images").mkdir(parents=True, exist_ok=True)
        values = RNG.integers(1, 255, (40, 60, 4)).astype(np.uint8)
        Image.fromarray(values).save(root / "images" / f"{number}.png")
        save_mask(root / "masks" / f"{number}.png", [1])
    (root / "classes.txt").write_text("background\ncup\n")
    message = r"partial in 100 % .* give bands '\[1, 2, 3\]' \(--data\.bands"
    with pytest.raises(ValueError, match=message):
        settings(root).setup("fit")
    assert inspect(root, tmp_path) == 1
    assert "partial in 100 %" in capsys.readouterr().out
    data = settings(root, bands=[1, 2, 3])
    data.setup("fit")
    stored = np.asarray(Image.open(root / "images" / "0.png"))
    np.testing.assert_array_equal(data.read_image("0"), stored[..., :3])
    assert data.state_dict()["pixels"] == {"bands": [1, 2, 3]}


def test_fit_and_inspect_count_the_same_suspicious_images(tmp_path, capsys, caplog):
    root = tmp_path / "photos"
    for number in range(4):
        save_image(root / "images" / f"{number}.png", seed=number)
        save_mask(root / "masks" / f"{number}.png", [1])
    (root / "classes.txt").write_text("background\ncup\n")
    image = np.dstack([np.full((40, 60, 3), 9, np.uint8), np.full((40, 60), 255, np.uint8)])
    image[0, 0] = (9, 8, 7, 100)
    Image.fromarray(image).save(root / "images" / "2.png")
    settings(root).setup("fit")
    said = "images with partial transparency, laid over white: 1"
    assert said in caplog.text
    assert inspect(root, tmp_path) == 0
    assert said in capsys.readouterr().out


def test_masks_of_which_half_are_black_and_white(tmp_path, capsys, caplog):
    root = tmp_path / "photos"
    for number in range(6):
        save_image(root / "images" / f"{number}.png", seed=number)
        mask = np.zeros((40, 60), np.uint8)
        mask[:20] = 1 if number % 2 else 255
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("background\ncup\n")
    Folder(str(root), val_fraction=0, crop_size=16, num_workers=0).setup("fit")
    said = "masks of 0 and 255 only, where 255 occurs in hardly any other mask"
    assert f"{said}: 3 of 6, first: {root / 'masks' / '0.png'}; if 255 stands" in caplog.text
    inspect(root, tmp_path)
    assert said in capsys.readouterr().out
