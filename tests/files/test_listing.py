import os
import sys
import unicodedata
from pathlib import Path

import pytest

from wsss_zoo.files.listing import files_by_stem, list_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "root" / "images" / "sub").mkdir(parents=True)
    return tmp_path / "root" / "images"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_ids_are_paths_without_suffix_sorted(folder):
    touch(folder, "b.JPG", "a.b.jpg", "sub/c d.Jpeg", "notes.txt", "README", ".hidden.jpg")
    touch(folder, ".ipynb_checkpoints/b-checkpoint.jpg")
    listing = list_files(folder, [".jpg", ".jpeg"])
    assert list(listing.files) == ["a.b", "b", "sub/c d"]
    assert listing.files["b"] == str(folder / "b.JPG")
    assert [Path(path).name for path in listing.others] == ["README", "notes.txt"]


def test_missing_folder_holds_nothing(tmp_path):
    assert files_by_stem(tmp_path / "nowhere", [".jpg"]) == {}


@pytest.mark.parametrize("other", ["a.png", "a.JPG", "a .jpg"])
def test_two_files_of_one_id(folder, other):
    touch(folder, "a.jpg", other)
    with pytest.raises(ValueError, match="have the same id 'a'; rename one"):
        files_by_stem(folder, [".jpg", ".png"])


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system makes both names one")
def test_two_forms_of_one_accented_name(folder):
    touch(folder, unicodedata.normalize("NFD", "Käfer.jpg"), "Käfer.jpg")
    with pytest.raises(ValueError, match="have the same id 'Käfer'"):
        files_by_stem(folder, [".jpg"])


def test_decomposed_names_are_found_by_the_usual_form(folder):
    touch(folder, unicodedata.normalize("NFD", "Käfer.jpg"))
    assert list(files_by_stem(folder, [".jpg"])) == ["Käfer"]


@pytest.mark.parametrize("name", [b"a\\b.jpg", b"a\nb.jpg", b"K\xe4fer.jpg"])
def test_names_that_cannot_be_listed(folder, name):
    try:
        open(os.path.join(os.fsencode(folder), name), "wb").close()  # noqa: PTH118, PTH123
    except OSError:
        pytest.skip("the file system refuses such names itself")
    with pytest.raises(ValueError, match=r"^the name of '.*' has .* so it is no image id; rename"):
        files_by_stem(folder, [".jpg"])


def test_links_inside_the_root_are_followed(folder):
    touch(folder, "a.jpg")
    touch(folder.parent, "store/c.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (folder / "more").symlink_to("../store", target_is_directory=True)
    assert list(list_files(folder, [".jpg"], root=folder.parent).files) == ["a", "b", "more/c"]


def test_links_out_of_the_root_are_refused_unless_allowed(folder, tmp_path):
    touch(tmp_path, "secret.jpg", "elsewhere/d.jpg")
    (folder / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg is a link that leads out of the data root, to"):
        list_files(folder, [".jpg"], root=folder.parent)
    assert list(list_files(folder, [".jpg"]).files) == ["a"]
    (folder.parent / "masks").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(ValueError, match="masks is a link that leads out of the data root"):
        list_files(folder.parent / "masks", [".jpg"], root=folder.parent)
    assert list(files_by_stem(folder.parent / "masks", [".jpg"])) == ["d"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone.jpg", "is a broken link; delete it or restore"),
        ("a.jpg", "is a broken link"),
        ("../images", "leads back to a folder that it is in"),
        ("..", "leads back to a folder that it is in"),
    ],
)
def test_links_that_lead_nowhere(folder, target, message):
    (folder / "a.jpg").symlink_to(target)
    with pytest.raises(ValueError, match=message):
        list_files(folder, [".jpg"], root=folder.parent)


def test_a_root_that_is_a_link_itself(folder, tmp_path):
    touch(folder, "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "link").symlink_to(folder.parent, target_is_directory=True)
    root = tmp_path / "link"
    assert list(list_files(root / "images", [".jpg"], root=root).files) == ["a", "b"]


def test_all_problems_are_reported_and_the_rest_is_listed(folder):
    touch(folder, "a.jpg", "a.png", "b.jpg", "b.png", "c.jpg")
    (folder / "d.jpg").symlink_to("gone")
    problems = []
    listing = list_files(folder, [".jpg", ".png"], root=folder.parent, report=problems.append)
    assert list(listing.files) == ["a", "b", "c"]
    assert len(problems) == 3
