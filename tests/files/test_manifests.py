from dataclasses import replace
from pathlib import Path

import pytest

from tests.each import each
from wsss_zoo.files.atomic import write_atomic
from wsss_zoo.files.manifests import (
    HEADER,
    MANIFEST,
    Contents,
    Manifest,
    begin_folder_of,
    checked_id,
    find_manifest,
    read_manifest_of,
    write_manifest,
)

POEMS = Contents("poems", "texts", ".txt", "--poems.out_dir", "burn it")
NAMES = ["background", "cat"]
TWO = Manifest("CAM", NAMES, 2, "c0", "w0", {"a": 1, "b": {"c": [2]}}, "train")


def begin(directory, manifest=TWO, delete=None):
    def is_done(image_id):
        return (directory / f"{image_id}.txt").exists()

    return begin_folder_of(directory, POEMS, manifest, ["x", "y"], is_done, delete)


def write_two(directory):
    for name in ("x", "sub/y"):
        write_atomic(directory / f"{name}.txt", b"roses")


def test_folder_from_begun_to_finished(tmp_path):
    assert begin(tmp_path) == set()
    write_atomic(tmp_path / "x.txt", b"roses")
    assert begin(tmp_path) == {"x"}
    assert find_manifest(tmp_path / HEADER) == TWO
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json: .*started again, finishes it"):
        read_manifest_of(tmp_path, POEMS, NAMES)
    write_atomic(tmp_path / "y.txt", b"violets")
    write_manifest(tmp_path, TWO)
    assert read_manifest_of(tmp_path, POEMS, NAMES) == TWO
    assert begin(tmp_path) == {"x", "y"}
    assert {path.name for path in tmp_path.iterdir()} == {"x.txt", "y.txt", MANIFEST}


def test_messages_are_in_the_words_of_the_contents(tmp_path):
    write_two(tmp_path)
    with pytest.raises(ValueError, match=r"no folder of poems; .*\(--poems\.out_dir\)"):
        begin(tmp_path)
    write_manifest(tmp_path, replace(TWO, count=3))
    with pytest.raises(ValueError, match=r"holds 2 texts, its manifest\.json says 3"):
        read_manifest_of(tmp_path, POEMS)
    with pytest.raises(ValueError, match=r"the poems in .* are for the classes"):
        read_manifest_of(tmp_path, POEMS, ["background", "dog"])


@each(
    ("changes", "said"),
    [
        ({"method": "CPS", "split": "val"}, r"\(method, split differ\)"),
        ({"options": {"a": 1}}, r"\(options differ\), with other options b"),
        ({"options": {"b": {"c": [3]}, "d": 0}}, r"\(options differ\), with other options a, b, d"),
        (
            {"options": {"a": None, "b": {"c": [2]}}, "count": 3},
            r"\(count, options differ\), with other options a",
        ),
    ],
)
def test_differences_are_named(tmp_path, changes, said):
    begin(tmp_path)
    with pytest.raises(ValueError, match=rf"holds poems of another run {said}; .*or burn it$"):
        begin(tmp_path, replace(TWO, **changes))
    assert find_manifest(tmp_path / HEADER) == TWO


def test_folder_may_be_emptied(tmp_path):
    write_two(tmp_path)
    write_manifest(tmp_path, TWO)
    other = replace(TWO, method="CPS")

    def delete(directory: Path) -> None:
        for path in directory.rglob("*.txt"):
            path.unlink()

    assert begin(tmp_path, other, delete) == set()
    assert find_manifest(tmp_path / HEADER) == other
    assert find_manifest(tmp_path / MANIFEST) is None


def test_damaged_manifest_is_named(tmp_path):
    for text in ("", "{", "[]", '{"method": "CAM"}'):
        (tmp_path / MANIFEST).write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json is no manifest"):
            find_manifest(tmp_path / MANIFEST)


def test_manifest_of_another_command(tmp_path):
    """Nothing is to be deleted: the masks are somebody's result."""
    (tmp_path / MANIFEST).write_text('{"written_by": "wsss-zoo label", "count": 3}')
    with pytest.raises(ValueError, match="was written by 'wsss-zoo label' and has no pseudo-la"):
        find_manifest(tmp_path / MANIFEST)


def test_ids_that_lead_out():
    assert checked_id("a/b.c") == "a/b.c"
    with pytest.raises(ValueError, match="would lead out of its folder"):
        checked_id("a/../../b")
