"""Weights and checkpoints with other bytes in them: read, or refused by name."""

import io
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.reading import read_or_refuse
from wsss_zoo.modules.weights import read_state_dict
from wsss_zoo.runs.checkpoints.checkpoint import read_checkpoint

CONTENT = {
    "state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)},
    "hyper_parameters": {"num_classes": 3, "sizes": (1, 2), "name": None},
    "global_step": 1,
}
CHANGES = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=3)


def saved(**options):
    file = io.BytesIO()
    torch.save(CONTENT, file, **options)
    return file.getvalue()


def changed(data, changes):
    data = bytearray(data)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data)


def repacked(data, changes):
    """The same archive, its checksums too, with other bytes where its objects are described."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, changed(part, changes) if name.endswith("data.pkl") else part)
    return file.getvalue()


FORMS = {
    "archive": lambda changes: changed(saved(), changes),
    "repacked": lambda changes: repacked(saved(), changes),
    "legacy": lambda changes: changed(saved(_use_new_zipfile_serialization=False), changes),
    "cut": lambda changes: saved()[: sum(place for place, _ in changes) % len(saved())],
}


@pytest.mark.parametrize("form", FORMS)
@given(changes=CHANGES)
def test_damaged_checkpoints(tmp_path, form, changes):
    path = tmp_path / "last.ckpt"
    path.write_bytes(FORMS[form](changes))
    read_or_refuse(lambda: read_checkpoint(str(path)), path)
    read_or_refuse(lambda: read_state_dict(path), path)


@given(st.binary(max_size=80), st.sampled_from([".pth", ".ckpt", ".safetensors"]))
def test_any_bytes(tmp_path, data, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"weights\."):
        read_state_dict(path)


@pytest.mark.parametrize(
    "field", [{"state_dict": 5}, {"hyper_parameters": "x"}, {"state_dict": None}]
)
def test_fields_of_another_kind(tmp_path, field):
    torch.save(CONTENT | field, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt .*"):
        read_checkpoint(str(tmp_path / "a.ckpt"))
