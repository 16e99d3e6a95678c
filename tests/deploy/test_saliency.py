"""wsss-zoo saliency and superpixels, called as a user calls them."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.each import each
from tests.saliency_networks import save_network
from tests.tiny import tiny
from wsss_zoo import Shapes
from wsss_zoo.cli import main
from wsss_zoo.deploy.saliency_network import SaliencyNetwork
from wsss_zoo.files.decoding import read_rgb
from wsss_zoo.files.map_folder import MapFolder
from wsss_zoo.files.saliency_maps import read_saliency_map
from wsss_zoo.files.segment_maps import read_segment_map
from wsss_zoo.functional import superpixels

SHAPES = ["--data", "Shapes", "--data.image_size", "64", "--data.num_train", "4"]
FIXED = ["--num_workers", "0", "--trainer.accelerator", "cpu", "--trainer.devices", "1"]


@pytest.fixture
def network(tmp_path):
    return str(save_network(tmp_path / "tiny.onnx"))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four images and a text; they are an hour old."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name, size in (("a.png", (40, 30)), ("sub/é.jpg", (33, 47)), ("b.png", (9, 50))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(folder / "a.png").save(folder / "turned.jpg", exif=turned)
    (folder / "notes.txt").touch()
    for path in folder.rglob("*.*"):
        os.utime(path, (time.time() - 3600,) * 2)
    return folder


def saliency(*args):
    return main(["saliency", *map(str, args), *FIXED])


def test_a_map_for_every_image_of_a_folder(photos, network, capsys):
    assert saliency(photos, "--model_path", network) == 0
    out = photos.with_name("photos_saliency")
    assert f"{out}: saliency maps of 4 images; left out as no images: 1 .txt" in (
        capsys.readouterr().out
    )
    compute = SaliencyNetwork(photos.with_name("tiny.onnx"))
    found = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    assert found == ["a.png", "b.png", "sub/é.png", "turned.png"]
    for name, image in (("a", "a.png"), ("sub/é", "sub/é.jpg"), ("turned", "turned.jpg")):
        with Image.open(out / f"{name}.png") as file:
            assert file.mode == "L"
        expected = compute(read_rgb(str(photos / image)))
        np.testing.assert_array_equal(read_saliency_map(out / f"{name}.png"), expected)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["preprocessing"] == "u2net"
    assert str(photos.parent) not in json.dumps(manifest)


def test_killed_command_makes_the_rest(photos, network, monkeypatch):
    written, write = [], MapFolder.write

    def killed(self, image_id, values):
        if len(written) == 2:
            raise RuntimeError("killed")
        written.append(image_id)
        write(self, image_id, values)

    monkeypatch.setattr(MapFolder, "write", killed)
    args = (photos, "--model_path", network, "--out", "maps")
    with pytest.raises(RuntimeError, match="killed"):
        saliency(*args)
    first = list(written)
    written.clear()
    monkeypatch.setattr(
        MapFolder, "write", lambda *given: (written.append(given[1]), write(*given))
    )
    assert saliency(*args) == 0
    assert sorted(first + written) == ["a", "b", "sub/é", "turned"]
    os.utime(photos / "b.png")
    written.clear()
    os.utime(photos.with_name("maps") / "b.png", (time.time() - 60,) * 2)
    assert saliency(*args) == 0
    assert written == ["b"]


def test_images_of_a_data_set_and_their_labels(tmp_path, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert saliency(*SHAPES, "--model_path", network, "--out", "maps") == 0
    data = Shapes(image_size=64, num_train=4)
    compute = SaliencyNetwork(tmp_path / "tiny.onnx")
    for image_id in data.split_ids("train"):
        expected = compute(data.read_image(image_id))
        np.testing.assert_array_equal(
            read_saliency_map(tmp_path / "maps" / f"{image_id}.png"), expected
        )
    # Done: no image is gone over again; other images of the same names are refused.
    assert saliency(*SHAPES, "--model_path", network, "--out", "maps") == 0
    larger = [*SHAPES[:3], "96", *SHAPES[4:]]
    with pytest.raises(ValueError, match=r"another network or of other options \(first_image"):
        saliency(*larger, "--model_path", network, "--out", "maps")
    args = ["predict", "--model", "CAM", *tiny(train=4), "--trainer.default_root_dir", "run"]
    assert main([*args, "--labels.saliency_dir", "maps"]) == 0
    assert len(list((tmp_path / "run" / "pseudo_labels").glob("*.png"))) == 4
    with pytest.raises(ValueError, match="maps is to be written, but it is also read"):
        main([*args, "--labels.saliency_dir", "maps", "--labels.out_dir", "maps"])


def test_unreadable_images_and_maps_are_told(photos, network, capsys, monkeypatch):
    (photos / "b.png").write_bytes(b"")
    call = SaliencyNetwork.__call__

    def fails(self, image):
        if image.shape[1] == 47:
            raise ValueError("the network's map has values that are not finite")
        return call(self, image)

    monkeypatch.setattr(SaliencyNetwork, "__call__", fails)
    assert saliency(photos, "--model_path", network) == 1
    printed = capsys.readouterr()
    assert "saliency maps of 2 images; 2 problems" in printed.out
    assert "b.png cannot be decoded (the file is empty" in printed.err
    assert "é.jpg: the network's map has values that are not finite" in printed.err


def test_maps_of_another_network_are_not_mixed(photos, network, tmp_path):
    assert saliency(photos, "--model_path", network, "--out", "maps") == 0
    other = save_network(tmp_path / "other.onnx", squeeze=True)
    args = (photos, "--model_path", other, "--out", "maps")
    with pytest.raises(ValueError, match="holds saliency maps of another network or of other opti"):
        saliency(*args)
    assert saliency(*args, "--overwrite") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").touch()
    with pytest.raises(ValueError, match="was not written by 'wsss-zoo saliency'"):
        saliency(photos, "--model_path", other, "--out", "mine")


@each(
    ("args", "message"),
    [
        (["photos", "--out", "photos"], "out photos is the folder of the images"),
        (["photos", "--out", "."], "out . is the folder of the images"),
        (["photos", "--out", "photos/maps"], "out photos/maps lies in the folder of the images"),
        ([], "give a FOLDER of images or --data NAME; neither is given"),
        (["photos", *SHAPES], "both are given"),
        (SHAPES, "--out is missing"),
        (["nothing"], "folder nothing is missing"),
        (["photos", "--num_threads", "-1"], "num_threads is -1"),
        (["--data", "Shape", "--out", "x"], "there is no data set 'Shape' (did you mean Shapes?)"),
        (["photos", "--preprocessing", "u3net"], "--preprocessing"),
        (["photos", "--model_path", "photos/a.png"], "photos/a.png cannot be loaded"),
        (["photos", "--model_path", "no.onnx"], "there is no file no.onnx"),
    ],
)
def test_bad_arguments(photos, network, capsys, args, message):
    given = args if "--model_path" in args else [*args, "--model_path", network]
    with pytest.raises(SystemExit) as caught:
        saliency(*given)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not photos.with_name("photos_saliency").exists()


def test_images_of_a_folder_data_set_are_not_overwritten(photos, network, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    photos.rename(tmp_path / "set" / "images")
    (tmp_path / "set" / "classes.txt").write_text("background\ncat\ndog\n")
    (tmp_path / "set" / "image_labels.csv").write_text("image_id,labels\na,cat\nb,dog\n")
    data = ["--data", "Folder", "--data.root", "set", "--data.predict_split", "all"]
    with pytest.raises(SystemExit):
        saliency(*data, "--model_path", network, "--out", "set/images")
    assert "out set/images is the folder of the images" in capsys.readouterr().err
    assert saliency(*data, "--model_path", network, "--out", "maps") == 0
    assert sorted(p.name for p in (tmp_path / "maps").glob("*.png")) == [
        "a.png", "b.png", "turned.png",
    ]  # fmt: skip


def test_superpixels_of_a_folder_make_labels_vote(photos, tmp_path, capsys):
    args = ["superpixels", str(photos), "--backend", "skimage", *FIXED, "--num_segments"]
    assert main([*args, "9"]) == 0
    out = photos.with_name("photos_superpixels")
    assert f"{out}: superpixels of 4 images" in capsys.readouterr().out
    segments = read_segment_map(out / "a.png")
    assert segments.dtype == np.uint16
    expected = superpixels(read_rgb(str(photos / "a.png")), 9, "skimage") + 1
    np.testing.assert_array_equal(segments, expected)
    with pytest.raises(ValueError, match="superpixels of another library or of other options"):
        main([*args, "8"])
    with pytest.raises(SystemExit):
        main([*args, "0"])


def test_maps_that_cannot_be_written_are_refused_first(photos, tmp_path, network, capsys):
    (tmp_path / "file").touch()
    out = ["--out", str(tmp_path / "file" / "maps")]
    for args in (["superpixels"], ["saliency", "--model_path", network]):
        for source in ([str(photos)], SHAPES):
            with pytest.raises(SystemExit):
                main([args[0], *source, *args[1:], *out, *FIXED])
            assert "cannot be written: " in capsys.readouterr().err


def test_segments_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["superpixels", *SHAPES, "--out", "segments", "--num_segments", "20", *FIXED]) == 0
    args = ["predict", "--model", "CAM", *tiny(train=4), "--trainer.default_root_dir", "run"]
    args += ["--labels.segments_dir", "segments", "--labels.segments_quorum", "0.4"]
    assert main([*args, "--labels.par", "true"]) == 0
    options = json.loads((tmp_path / "run" / "pseudo_labels" / "manifest.json").read_text())
    assert options["options"]["segments_quorum"] == 0.4
    assert options["options"]["par"] is True


def test_options_from_a_file(photos, network):
    (photos.parent / "options.yaml").write_text(
        yaml.safe_dump({"folder": "photos", "model_path": network, "out": "maps"})
    )
    assert saliency("--config", "options.yaml") == 0
    assert (photos.with_name("maps") / "manifest.json").exists()


@pytest.mark.slow
def test_two_processes_write_what_one_does(tmp_path, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    args = ["saliency", *SHAPES[:4], "--data.num_train", "5", "--model_path", network]
    args += ["--num_workers", "0", "--trainer.accelerator", "cpu"]
    assert main([*args, "--trainer.devices", "1", "--out", "one"]) == 0
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--out", "two"]
    subprocess.run([sys.executable, "-m", "wsss_zoo", *args, *two], check=True, timeout=300)
    one, two_maps = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert len(one) == 6
    assert one == two_maps
