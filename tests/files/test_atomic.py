import os

import pytest

from wsss_zoo.files.atomic import read_json, replacing, write_atomic, write_json


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_atomic(tmp_path / "new" / "a.txt", "é\n")
    write_atomic(tmp_path / "b.bin", b"\r\n")
    write_json(tmp_path / "c.json", {"b": "é", "a": 1})
    assert (tmp_path / "new" / "a.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\r\n"
    assert (tmp_path / "c.json").read_text("utf-8") == '{\n "a": 1,\n "b": "é"\n}\n'


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "[" * 100_000])
def test_what_is_no_json_object_counts_as_an_empty_one(tmp_path, text):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") == {}
    write_json(tmp_path / "a.json", {"b": 1})
    assert read_json(tmp_path / "a.json") == {"b": 1}


def test_failure_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomic(tmp_path / "a.onnx", "old")

    def fail():
        with replacing(tmp_path / "a.onnx", ".onnx") as new:
            assert new.suffix == ".onnx"
            new.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "old"


def test_problem_names_the_file_not_the_temporary_one(tmp_path):
    said = r"No such file.*, not written: .*a\.txt'$"
    with pytest.raises(OSError, match=said), replacing(tmp_path / "a.txt"):
        pass  # nothing is written


@pytest.mark.parametrize("sync", [True, False])
def test_files_are_forced_to_the_disk_unless_the_writer_does_it(tmp_path, monkeypatch, sync):
    forced = []
    monkeypatch.setattr(os, "fsync", forced.append)
    with replacing(tmp_path / "a.txt", sync=sync) as new:
        new.write_text("a")
    assert len(forced) == sync


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"not written: .*a\.txt'$"):
        write_atomic(tmp_path / "file" / "a.txt", "a")
