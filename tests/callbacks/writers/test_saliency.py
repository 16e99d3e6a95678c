"""Pseudo-labels with saliency maps from a folder: files, errors, manifest, command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.callbacks.fakes import IDS, NAMES, ToyCAM, ToyData, seed_of, trainer_in
from tests.tiny import tiny
from wsss_zoo.callbacks import PseudoLabelWriter
from wsss_zoo.callbacks.writers.saliency import check_saliency, read_saliency
from wsss_zoo.cli import ZooCLI, main
from wsss_zoo.files.pseudo_labels import read_label, read_manifest, voc_palette
from wsss_zoo.functional import saliency_label


def map_of(image_id: str, data: ToyData) -> np.ndarray:
    rng = np.random.default_rng(seed_of(image_id) + 1)
    return rng.choice([0, 20, 120, 255], data.read_image(image_id).shape[:2]).astype(np.uint8)


def save_maps(folder: Path, data: ToyData, without: tuple[str, ...] = ()) -> str:
    folder.mkdir(parents=True)
    for image_id in data.ids:
        if image_id not in without:
            Image.fromarray(map_of(image_id, data)).save(folder / f"{image_id}.png")
    return str(folder)


def predict(folder: Path, data: ToyData, trainer_options: dict | None = None, **options) -> ToyCAM:
    method = ToyCAM()
    trainer = trainer_in(folder, PseudoLabelWriter(**options), **(trainer_options or {}))
    trainer.predict(method, datamodule=data, return_predictions=False)
    return method


def test_labels_are_those_of_the_rule_and_the_files(tmp_path):
    data = ToyData()
    maps = save_maps(tmp_path / "here" / "maps", data)
    predict(tmp_path, data, saliency_dir=maps)
    found = set()
    for image_id in IDS:
        sample = data.sample(image_id)
        tags = sample["image_labels"]
        saliency = torch.from_numpy(map_of(image_id, data)) / 255
        expected = saliency_label(sample["image"], tags, saliency).numpy()
        label = read_label(tmp_path / "pseudo_labels", image_id)
        np.testing.assert_array_equal(label, expected)
        found |= set(np.unique(label))
    assert found == {0, 1, 2, 3, 255}
    options = read_manifest(tmp_path / "pseudo_labels", NAMES).options
    assert options["saliency_dir"] == "maps"
    assert options["fg_threshold"] == 0.3
    assert "bg_threshold" not in options
    assert str(tmp_path) not in (tmp_path / "pseudo_labels" / "manifest.json").read_text()


def test_folder_may_lie_elsewhere_when_a_run_goes_on(tmp_path):
    data = ToyData()
    maps = save_maps(tmp_path / "here" / "maps", data)
    moved = save_maps(tmp_path / "there" / "maps", data)
    other = save_maps(tmp_path / "there" / "others", data)
    predict(tmp_path, data, {"limit_predict_batches": 2}, saliency_dir=maps)
    assert predict(tmp_path, data, saliency_dir=moved).seen == IDS[2:]
    for options in ({"saliency_dir": other}, {}):
        with pytest.raises(ValueError, match=r"another run \(options differ\)"):
            predict(tmp_path, data, **options)


@pytest.mark.parametrize("fast_dev_run", [False, True])
def test_missing_maps_are_named_before_any_image_is_gone_over(tmp_path, fast_dev_run):
    data = ToyData()
    maps = save_maps(tmp_path / "maps", data, without=tuple(IDS[1:5]))
    message = (
        rf"4 of 6 images have no saliency map in .*first: {IDS[1]}.png, {IDS[2]}.png, {IDS[3]}.png;"
    )
    with pytest.raises(FileNotFoundError, match=message):
        predict(tmp_path / "run", data, {"fast_dev_run": fast_dev_run}, saliency_dir=maps)
    assert not (tmp_path / "run").exists()


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"saliency_dir .*none is no folder"):
        predict(tmp_path, ToyData(), saliency_dir=str(tmp_path / "none"))


def test_map_of_another_size_names_the_file(tmp_path):
    data = ToyData()
    maps = save_maps(tmp_path / "maps", data)
    height, width = data.read_image(IDS[0]).shape[:2]
    Image.new("L", (width + 1, height)).save(Path(maps) / f"{IDS[0]}.png")
    message = rf"{IDS[0]}\.png is {width + 1}x{height} .*image {IDS[0]} is {width}x{height}"
    with pytest.raises(ValueError, match=message):
        predict(tmp_path / "run", data, saliency_dir=maps)


def test_nothing_is_looked_for_without_a_folder():
    check_saliency(None, IDS)
    assert read_saliency(None, "a", (2, 3)) is None


GREY = np.array([[0, 32, 128], [200, 254, 255]], dtype=np.uint8)


def grey_palette() -> Image.Image:
    """Grey by its palette, in the opposite order: the indices say something else."""
    image = Image.fromarray(255 - GREY, mode=None)
    image.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        Image.fromarray(GREY).convert("RGB"),
        grey_palette(),
        Image.fromarray(GREY.astype(np.uint16) << 8),
    ],
    ids=["grey", "rgb", "palette", "16 bit"],
)
def test_grey_files_of_any_mode(tmp_path, image):
    (tmp_path / "sub").mkdir()
    image.save(tmp_path / "sub" / "a.png")
    check_saliency(str(tmp_path), ["sub/a"])
    saliency = read_saliency(str(tmp_path), "sub/a", (2, 3))
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, GREY / 255, rtol=1e-6)


def test_files_with_colours_are_refused(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 15]], dtype=np.uint8))
    image.putpalette(voc_palette().tobytes())
    image.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png has colours; a saliency map is grey"):
        read_saliency(str(tmp_path), "a", (1, 3))


def test_damaged_file_and_id_that_leads_elsewhere(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(OSError, match=r"a\.png cannot be decoded \(the file is empty"):
        read_saliency(str(tmp_path), "a", (1, 3))
    with pytest.raises(ValueError, match="would lead out of its folder"):
        check_saliency(str(tmp_path), ["../a"])


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_command_line_takes_the_folder(tmp_path):
    args = ["predict", "--model", "CAM", "--model.backbone", "test_resnet", "--data", "Shapes"]
    args += ["--labels.saliency_dir", str(tmp_path / "none"), "--trainer.logger", "false"]
    args += ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.accelerator", "cpu"]
    with pytest.raises(FileNotFoundError, match=r"saliency_dir .*none is no folder"):
        ZooCLI(args)


def test_weak_maps_are_named(tmp_path, caplog):
    for highest, expected in ((100, True), (255, False)):
        for image_id, value in (("a", highest), ("b", 0)):
            Image.new("L", (3, 2), value).save(tmp_path / f"{image_id}.png")
        caplog.clear()
        check_saliency(str(tmp_path), ["a", "b"])
        assert (
            f"no value of 2 saliency maps in {tmp_path} is above 100" in caplog.text
        ) == expected


def test_sizes_of_all_files_are_compared_before_any_image_is_gone_over(tmp_path):
    maps, run = tmp_path / "maps", tmp_path / "run"
    args = ["predict", "--model", "CAM", *tiny(), "--trainer.default_root_dir", str(run)]
    maps.mkdir()
    for index in range(8):
        Image.new("L", (64, 63 if index == 7 else 64), 255).save(maps / f"train_{index:06d}.png")
    with pytest.raises(ValueError, match=r"train_000007\.png is 64x63 .* is 64x64"):
        main([*args, "--labels.saliency_dir", str(maps)])
    assert not (run / "pseudo_labels").exists()


def test_maps_of_another_network_are_no_labels_of_the_same_run(tmp_path):
    data = ToyData()
    maps = save_maps(tmp_path / "maps", data)

    def write_origin(network: str) -> None:
        origin = {"written_by": "wsss-zoo saliency", "model_sha256": network, "count": 6}
        (Path(maps) / "manifest.json").write_text(json.dumps(origin))

    write_origin("a")
    predict(tmp_path, data, saliency_dir=maps)
    assert predict(tmp_path, data, saliency_dir=maps).seen == []
    write_origin("b")
    with pytest.raises(ValueError, match=r"other options saliency_maps"):
        predict(tmp_path, data, saliency_dir=maps)
