import pytest

from tests.each import each
from wsss_zoo.files.outputs import check_output_file, check_output_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "broken").symlink_to("gone")
    return tmp_path


@each("name", ["new.png", "new/deep/a.png", "folder/a.png", "file"])
def test_files_that_can_be_written(folder, name):
    before = sorted(folder.rglob("*"))
    check_output_file(folder / name)
    assert sorted(folder.rglob("*")) == before


@each(
    ("name", "problem"),
    [
        ("file/a.png", "file is a file"),
        ("file/deep/a.png", "file is a file"),
        ("folder", "a folder of that name is there"),
        ("broken/a.png", "broken is a broken link"),
        ("broken", "it is a broken link to gone"),
        ("n" * 300, "File name too long"),
    ],
)
def test_files_that_cannot_be_written(folder, name, problem):
    message = rf"{name} cannot be written: .*{problem}; name another file"
    with pytest.raises(OSError, match=message):
        check_output_file(folder / name)


def test_suffixes(folder):
    check_output_file(folder / "a.PNG", [".png"])
    for name in ("a", "a.txt"):
        with pytest.raises(ValueError, match=rf"{name} cannot be written: its name .*{name}\.png"):
            check_output_file(folder / name, [".png", ".jpg"])


def test_folders(folder):
    for name in ("new", "new/deep", "folder"):
        check_output_folder(folder / name, ["inner", "other"], ["a.csv"])
    for name, problem in (("file", "it is a file"), ("file/run", "file is a file")):
        with pytest.raises(OSError, match=f"{name} cannot be written: .*{problem}; .* folder"):
            check_output_folder(folder / name)
    (folder / "folder" / "checkpoints").touch()
    with pytest.raises(OSError, match="checkpoints cannot be written: it is a file"):
        check_output_folder(folder / "folder", ["checkpoints"])
    with pytest.raises(OSError, match="inner cannot be written: a folder of that name is there"):
        check_output_folder(folder / "folder", [], ["inner"])


def test_disks_that_are_read_only(folder, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OSError, match=r"a\.png cannot be written: .* is not writable; name"):
        check_output_file(folder / "a.png")


def test_folders_that_only_seem_to_be_writable(folder, monkeypatch):
    def refuse(dir):
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match=r"a\.png cannot be written: no file can be made in .*folder"):
        check_output_file(folder / "folder/a.png")
