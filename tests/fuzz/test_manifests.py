import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.graph_folders import grid_graph
from tests.each import each
from tests.fuzz.reading import read_or_refuse
from tests.fuzz.strategies import json_values
from wsss_zoo.callbacks.regions.loss_thresholds import read_thresholds
from wsss_zoo.data.reading.class_files import read_class_file
from wsss_zoo.data.reading.tag_files import read_tag_file
from wsss_zoo.data.sets.class_names.coco import COCO_THINGS
from wsss_zoo.data.sets.coco_annotations import read_annotations, read_tags
from wsss_zoo.files.label_folder import LabelFolder
from wsss_zoo.files.manifests import Manifest, find_manifest, write_manifest
from wsss_zoo.files.pseudo_labels import begin_folder, read_manifest
from wsss_zoo.files.region_graphs import has_graph, read_graph, read_graph_manifest, write_graph

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
OPTIONS = st.dictionaries(TEXT, PLAIN | st.lists(PLAIN, max_size=3), max_size=3)
MANIFESTS = st.builds(
    Manifest,
    method=TEXT,
    class_names=st.lists(TEXT, max_size=3),
    count=st.just(0),
    config_hash=TEXT,
    checkpoint_hash=TEXT,
    options=OPTIONS,
    split=TEXT,
)
READERS = (read_manifest, read_graph_manifest, lambda folder: begin_folder(folder, GOOD, []))
GOOD = Manifest("CAM", ["background", "cat"], 0, "c", "w", {"crf": True}, "train")


@given(MANIFESTS)
def test_what_is_written_is_read(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path, manifest.class_names) == manifest


@st.composite
def damaged(draw):
    """A manifest with one field replaced, gone or added; or cut short; or anything at all."""
    content = dataclasses.asdict(GOOD)
    kind = draw(st.sampled_from(["replace", "drop", "add", "cut", "json", "bytes"]))
    name = draw(st.sampled_from(sorted(content)))
    if kind == "replace":
        content[name] = draw(json_values())
    elif kind == "drop":
        del content[name]
    elif kind == "add":
        content[draw(TEXT)] = draw(json_values())
    elif kind == "json":
        content = draw(json_values())
    text = json.dumps(content).encode()
    if kind == "cut":
        text = text[: draw(st.integers(0, len(text) - 1))]
    return draw(st.binary(max_size=40)) if kind == "bytes" else text


@given(damaged())
def test_damaged_manifests_are_refused_by_name(tmp_path, text):
    path = tmp_path / "manifest.json"
    for read in READERS:
        path.write_bytes(text)
        read_or_refuse(lambda read=read: read(tmp_path), tmp_path)
    path.write_bytes(text)
    found = read_or_refuse(lambda: find_manifest(path), path)
    if found is not None:
        assert isinstance(found.count, int)
        assert all(isinstance(name, str) for name in found.class_names)
        assert isinstance(found.options, dict)


DEEP = {
    "manifest.json": find_manifest,
    "threshold.json": lambda path: read_thresholds(str(path), ["background"]),
    "instances_train2014.json": read_annotations,
    "image_labels.json": read_tag_file,
    "classes.json": read_class_file,
}


@each("text", ["[" * 100_000, '{"a":' * 100_000])
@pytest.mark.parametrize("name", DEEP)
def test_json_that_is_too_deep(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        DEEP[name](tmp_path / name)


@given(damaged())
def test_damaged_folders_of_label(tmp_path, text):
    folder = tmp_path / "labels"
    folder.mkdir(exist_ok=True)
    for name in ("manifest.json", "manifest.partial.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ValueError, match="labels"):
        LabelFolder(folder, {"method": "CAM"}).begin({}, overwrite=False)


@given(damaged() | json_values().map(lambda value: json.dumps({"class_names": value}).encode()))
def test_damaged_thresholds(tmp_path, text):
    path = tmp_path / "threshold.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"threshold\.json"):
        read_thresholds(str(path), ["background", "cat"])


@given(st.data())
def test_damaged_annotations(tmp_path, data):
    categories = [{"id": number, "name": name} for number, name in enumerate(COCO_THINGS)]
    image = {"id": 1, "file_name": "COCO_train2014_000000000009.jpg", "height": 4, "width": 5}
    item = {"category_id": 0, "image_id": 1, "area": 2.0, "iscrowd": 0, "segmentation": []}
    content = {"images": [image], "annotations": [item], "categories": categories}
    part = data.draw(st.sampled_from([content, image, item, categories[0]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(json_values())
    path = tmp_path / "instances_train2014.json"
    path.write_text(json.dumps(content))
    found = read_or_refuse(lambda: read_annotations(path), path)
    if found is not None:
        assert all({*image.tags} <= {*COCO_THINGS} for image in found.values())
        assert all(image.objects() is not None for image in found.values())


@given(st.binary(max_size=60) | st.integers(0, 3000))
def test_damaged_arrays(tmp_path, damage):
    """Any bytes, or a graph with one byte changed."""
    write_graph(tmp_path, "a", grid_graph((4, 6), (2, 3)))
    path = tmp_path / "a.npz"
    whole = bytearray(path.read_bytes())
    if isinstance(damage, int):
        whole[damage % len(whole)] ^= 0xFF
    path.write_bytes(damage if isinstance(damage, bytes) else whole)
    has_graph(tmp_path, "a")
    assert read_tags(path, "digest") is None
    read_or_refuse(lambda: read_graph(tmp_path, "a"), path, OSError)
