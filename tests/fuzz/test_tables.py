"""Tags, lists and class lists: any text is read or refused by name."""

import csv
import io
import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.reading import read_or_refuse
from tests.fuzz.strategies import json_values, permutations, tensors
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.data.reading.splits import read_split, write_split
from wsss_zoo.data.reading.tag_files import read_tag_file
from wsss_zoo.files.text import id_problem, normalise
from wsss_zoo.functional import gate_by_tags

# What tables are made of, and what breaks them.
TABLE = st.text(alphabet="ab1 0,;\t\n\r\"'\\/.\ufeff\0é#[]{}:", max_size=60) | st.text(max_size=60)
NAMES = st.text("abcé _-1", min_size=1, max_size=6).map(normalise).filter(bool)
IDS = st.text("abé_-1/", min_size=1, max_size=8).filter(
    lambda name: id_problem(name) is None and normalise(name) == name
)
TAGS = st.dictionaries(IDS, st.lists(NAMES, unique=True, max_size=3), min_size=1, max_size=5)


@given(TABLE | st.binary(max_size=60), st.sampled_from([(), ("a", "b")]))
def test_any_tag_table(tmp_path, text, known):
    path = tmp_path / "image_labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    tags = read_or_refuse(lambda: read_tag_file(path, known), path)
    for image_id, names in (tags or {}).items():
        assert id_problem(image_id) is None
        assert all(isinstance(name, str) and name == normalise(name) for name in names)
    # One that collects problems raises none of them.
    problems = []
    read_or_refuse(lambda: read_tag_file(path, known, problems.append), path)
    assert all(path.name in problem for problem in problems)


@given(json_values().map(json.dumps) | TABLE)
def test_any_tag_json(tmp_path, text):
    path = tmp_path / "image_labels.json"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    tags = read_or_refuse(lambda: read_tag_file(path), path)
    assert tags is None or all(id_problem(image_id) is None for image_id in tags)


@given(TAGS, st.sampled_from([",", ";", "\t"]), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_tag_tables_round_trip(tmp_path, tags, delimiter, marked, ends):
    text = io.StringIO()
    rows = csv.writer(text, delimiter=delimiter, lineterminator=ends)
    rows.writerow(["image_id", "classes"])
    rows.writerows((image_id, ";".join(names)) for image_id, names in tags.items())
    path = tmp_path / "image_labels.csv"
    path.write_bytes(text.getvalue().encode("utf-8-sig" if marked else "utf-8"))
    assert read_tag_file(path) == tags
    path = tmp_path / "image_labels.json"
    path.write_text(json.dumps(tags))
    assert read_tag_file(path) == tags


@given(TAGS)
def test_tables_of_flags_round_trip(tmp_path, tags):
    classes = sorted({name for names in tags.values() for name in names} | {"x", "y"})
    lines = [",".join(["id", *classes])]
    lines += [",".join([i, *(str(int(c in names)) for c in classes)]) for i, names in tags.items()]
    path = tmp_path / "image_labels.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    expected = {image_id: sorted(names) for image_id, names in tags.items()}
    assert read_tag_file(path, classes) == expected


@given(TABLE | st.binary(max_size=40))
def test_any_list(tmp_path, text):
    path = tmp_path / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    ids = read_or_refuse(lambda: read_split(path), path)
    assert ids is None or all(id_problem(image_id) is None for image_id in ids)
    if ids:
        write_split(path, ids)
        assert read_split(path) == ids


@given(TABLE | json_values().map(json.dumps), st.sampled_from(["classes.txt", "classes.json"]))
def test_any_class_list(tmp_path, text, name):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    found = read_or_refuse(lambda: read_class_file(path), path)
    if found is not None:
        assert len(set(found.names)) == len(found.names) > 0
        assert all(name and name.isprintable() for name in found.names)
        assert all(index in (255, *range(len(found.names))) for index in found.colors.values())


@given(st.text(max_size=12))
def test_an_id_stays_in_its_folder(tmp_path, image_id):
    if id_problem(image_id) is None:
        path = tmp_path / f"{image_id}.png"
        assert ".." not in path.parts
        assert path.resolve().is_relative_to(tmp_path.resolve())
        assert re.fullmatch(r"[^\x00-\x1f\\]+", image_id)


@given(st.data(), st.integers(1, 5))
def test_gating_by_tags(data, classes):
    logits = data.draw(tensors(2, classes + 1, 2, 3))
    tags = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=2 * classes, max_size=2 * classes))
    )
    tags = tags.view(2, classes).long()
    known = torch.tensor(data.draw(st.tuples(st.booleans(), st.booleans())))
    gated = gate_by_tags(logits, tags, known)
    probs = gated.softmax(1)
    assert torch.allclose(probs.sum(1), torch.ones(2, 2, 3), atol=1e-5)
    absent = (tags == 0) & known[:, None]
    assert (probs[:, 1:][absent] == 0).all()
    assert torch.equal(gated[:, 0], logits[:, 0])
    assert torch.equal(gated[~known], logits[~known])
    order = data.draw(permutations(classes))
    both = torch.cat([torch.zeros(1).long(), order + 1])
    assert torch.equal(gate_by_tags(logits[:, both], tags[:, order], known), gated[:, both])


def test_a_list_that_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt is missing"):
        read_split(tmp_path / "none.txt")
