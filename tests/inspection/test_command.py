import logging

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import folder_root, save_mask, voc_root
from tests.each import each
from wsss_zoo.cli import main
from wsss_zoo.inspection.command import choose_images

__all__ = ["folder_root", "voc_root"]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "sheets" / "inspect.png"


def run(root, out, *options):
    return main(
        ["inspect", "--data", "Folder", "--data.root", str(root), "--out", str(out), *options]
    )


def row(text, name):
    """Cells of the first table row that starts with a name."""
    rows = ([cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines())
    return next(cells for cells in rows if cells and cells[0] == name)


def test_what_a_folder_holds(folder_root, out, capsys):
    assert run(folder_root, out, "--data.val_fraction", "0") == 0
    text = capsys.readouterr().out
    assert row(text, "train") == ["train", "6", "4", "1", "1", "0"]
    # Of 60 columns, 20 are cup or plate where they occur, 1 is ignored.
    assert row(text, "background")[2:4] == ["4", f"{100 * 39 / 59:.2f}"]
    assert row(text, "cup") == ["cup", "1", "2", f"{100 * 10 / 59:.2f}", "3", "0"]
    assert row(text, "ignored (255)")[2:4] == ["4", f"{100 / 60:.2f} of all"]
    assert "no errors" in text
    assert "errors:" not in text
    with Image.open(out) as sheet:
        assert sheet.width > 200


def test_what_is_wrong_with_a_folder(folder_root, out, capsys):
    (folder_root / "images" / "img 5.JPG").write_bytes(b"")
    save_mask(folder_root / "masks" / "img 0.png", [7])
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 1,cup\nimg 2,cop\n")
    (folder_root / "notes.txt").touch()
    assert run(folder_root, out, "--data.val_fraction", "0") == 1
    text = capsys.readouterr().out
    assert row(text, "train") == ["train", "6", "3", "2", "1", "2"]
    disagreements = text.partition("tags and masks disagree")[2]
    assert row(disagreements, "cup") == ["cup", "1: img 1", "1: img 2"]
    assert row(disagreements, "plate") == ["plate", "", "1: img 1"]
    for part in (
        "errors: 3",
        "img 0.png holds class index 7",
        "img 5.JPG cannot be decoded (the file is empty, 0 bytes)",
        "unknown class 'cop'",
        "files and folders that are not read: 1",
    ):
        assert part in text, part
    assert out.exists()


def test_masks_in_train_are_counted_by_class(folder_root, out, capsys):
    (folder_root / "splits").mkdir()
    (folder_root / "splits" / "train.txt").write_text("img 0\nimg 1\nimg 2\nimg 4\n")
    assert run(folder_root, out) == 0
    text = capsys.readouterr().out.partition("masks in train: 3")[2]
    assert row(text, "background") == ["background", "3", str(3 * 39 * 40)]
    assert row(text, "cup") == ["cup", "2", str(2 * 20 * 40)]
    assert row(text, "plate") == ["plate", "1", str(20 * 40)]


@each(
    ("name", "message"),
    [
        ("sheet", r"sheet cannot be written: its name does not end .* name it sheet\.png"),
        ("sheet.txt", "sheet.txt cannot be written: its name"),
        ("file/sheet.png", "file is a file; name another file"),
        ("folder.png", "a folder of that name is there; name another file"),
    ],
)
def test_sheets_that_cannot_be_written_are_refused_first(folder_root, tmp_path, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir(exist_ok=True)
    with pytest.raises((OSError, ValueError), match=message):
        run(folder_root, tmp_path / name)
    assert run(folder_root, tmp_path / name, "--num_images", "0") == 0


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif"])
def test_sheets_of_other_formats(folder_root, tmp_path, suffix):
    assert run(folder_root, tmp_path / f"sheet.{suffix}") == 0
    with Image.open(tmp_path / f"sheet.{suffix}") as sheet:
        assert sheet.width > 200


def test_what_a_class_list_and_opacity_mean_is_said(folder_root, out, capsys):
    (folder_root / "classes.txt").write_text(
        "soil 0 0 0\ncup 1 1 1\nplate 2 2 2\nignore 255 255 255"
    )
    mask = Image.open(folder_root / "masks" / "img 0.png").convert("RGBA")
    mask.save(folder_root / "masks" / "img 0.png")
    pixels = np.asarray(mask).copy()
    pixels[pixels[..., 0] == 0, 3] = 0
    Image.fromarray(pixels).save(folder_root / "masks" / "img 1.png")
    run(folder_root, out, "--data.val_fraction", "0")
    text = capsys.readouterr().out
    assert "'soil' is taken for the background, as it is the first class: 1" in text
    assert "masks with opacity, of which the colour below counts: 2" in text


def test_another_folder_shows_the_layout_and_no_empty_tables(tmp_path, out, capsys):
    assert (
        main(["inspect", "--data", "VOC2012", "--data.root", str(tmp_path), "--out", str(out)]) == 1
    )
    text = capsys.readouterr().out
    assert "JPEGImages is missing; expected" in text
    assert "<root>/ImageSets/Segmentation/train.txt" in text
    assert "aeroplane" not in text


def test_long_lists_are_cut(folder_root, out, capsys):
    for number in range(12):
        (folder_root / f"notes {number}.txt").touch()
    run(folder_root, out, "--num_images", "0")
    assert "and 2 more" in capsys.readouterr().out
    assert not out.exists()


def test_the_log_is_quiet_meanwhile_only(folder_root, out, caplog):
    (folder_root / "images" / "a.heic").touch()
    run(folder_root, out)
    assert not caplog.records
    logging.getLogger("wsss_zoo.data").warning("heard")
    assert "heard" in caplog.text


def test_nothing_to_draw(folder_root, out, capsys):
    for path in (folder_root / "images").iterdir():
        path.write_bytes(b"")
    assert run(folder_root, out) == 1
    assert not out.exists()


def test_any_data_set(voc_root, out, capsys):
    options = ["--data.classes=[cat,dog]", "--data", "VOC2012", "--data.root", str(voc_root)]
    assert main(["inspect", *options, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert row(text, "val") == ["val", "2", "2", "0", "0", "0"]
    assert out.exists()


@each(
    ("args", "message"),
    [
        ([], "--data is missing: name the data set"),
        (["--data", "Fodler"], "there is no data set 'Fodler' (did you mean Folder?)"),
        (["--data", "Shapes", "--colour", "red"], "--colour"),
        (["--data", "Folder"], "root"),
        (["--data", "Folder", "--data.root", "x", "--data.val_fraction", "2"], "val_fraction must"),
    ],
)
def test_wrong_arguments(args, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", *args])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_no_folder(tmp_path, capsys, monkeypatch):
    root = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        run(root, tmp_path / "a.png")
    args = ["wsss-zoo", "inspect", "--data", "Folder", "--data.root", str(root)]
    monkeypatch.setattr("sys.argv", args)
    assert main() == 1
    assert "wsss-zoo inspect: error: " in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", "--help"])
    assert exit_.value.code == 0
    assert "--num_images" in capsys.readouterr().out


@each("count", [1, 4, 12, 60])
def test_chosen_images_are_of_every_kind(count):
    from tests.inspection.test_oddities import inspection, pixels, record

    values = [pixels(v0=9)] * 20 + [None] * 30
    records = [record(f"{n:02d}", value) for n, value in enumerate(values)]
    tags = {f"{n:02d}": ["cat"] for n in range(20, 24)}
    chosen = choose_images(inspection(records, tags=tags), count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, 50)
    kinds = [np.searchsorted([20, 24], int(name), side="right") for name in chosen]
    assert kinds.count(0) == {1: 1, 4: 2, 12: 6, 60: 20}[count]
    assert kinds.count(1) == {1: 0, 4: 1, 12: 3, 60: 4}[count]


def test_every_class_is_on_the_sheet():
    from tests.inspection.test_oddities import inspection, pixels, record

    # Many empty meadows, cows and a single dog; the tags of one image are wrong.
    values = [pixels(v0=9)] * 10 + [pixels(v0=5, v1=4)] * 10 + [pixels(v0=3, v2=6)]
    records = [record(f"{n:02d}", value) for n, value in enumerate(values)]
    found = inspection(records, tags={"05": ["dog"]})
    for count in (3, 4, 6):
        chosen = choose_images(found, count)
        assert len(chosen) == count
        assert {"05", "20"} <= {*chosen}
        assert any("10" <= name < "20" for name in chosen)


def test_pseudo_labels_are_shown(folder_root, out, tmp_path, capsys):
    from tests.inspection.test_inspection import pseudo_labels

    folder = pseudo_labels(folder_root, tmp_path / "labels")
    assert run(folder_root, out, "--data.pseudo_label_dir", folder, "--data.val_fraction", "0") == 0
    text = capsys.readouterr().out
    assert "pseudo-labels of 4 images, mean IoU 0.6667 over the 3 with a mask" in text
    plate = row(text.partition("pseudo-labels of")[2], "plate")
    assert plate[:2] == ["plate", "2"]
    assert out.exists()


def test_masks_of_label_are_shown_too(folder_root, out, tmp_path, capsys):
    from tests.inspection.test_inspection import pseudo_labels

    folder = tmp_path / "labelled"
    pseudo_labels(folder_root, folder / "masks")
    (folder / "masks" / "manifest.json").unlink()
    (folder / "manifest.json").write_text('{"written_by": "wsss-zoo label"}')
    options = ["--data.val_fraction", "0", "--data.pseudo_label_dir"]
    assert run(folder_root, out, *options, str(folder)) == 1
    text = capsys.readouterr().out
    assert "pseudo-labels of 4 images, mean IoU 0.6667 over the 3 with a mask" in text
    assert "was written by 'wsss-zoo label'" in text
    assert out.exists()
    assert run(folder_root, out, *options, str(folder_root / "images")) == 1
    assert "no label map <id>.png has the name of an image" in capsys.readouterr().out
    assert run(folder_root, out, *options, "nowhere") == 1
    assert "nowhere does not exist, or is no folder" in capsys.readouterr().out
