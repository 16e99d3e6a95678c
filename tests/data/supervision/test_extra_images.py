"""Tagged images of extra roots in training; see `DomainImages`."""

import logging
import pickle

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from tests.data.conftest import VOC_IDS, save_image, save_mask
from tests.each import each
from wsss_zoo.data import VOC2012, Folder, Shapes

VOC_ROWS = ["a,cat", "b.jpg,dog", "sub/c,cat;dog", "d,cat;cat;dog"]
REGIMES = ["image_labels", "pairs"]


def extra_root(path, rows=VOC_ROWS, names=("a", "b", "sub/c", "d", "untagged"), seed=50):
    for number, name in enumerate(names):
        save_image(path / "images" / f"{name}.jpg", seed=seed + number)
    if rows is not None:
        (path / "image_labels.csv").write_text("\n".join(["id,classes", *rows]) + "\n")
    return str(path)


def voc(voc_root, extra_roots, supervision="pairs", **options):
    settings = {"classes": ["cat", "dog"], "image_labels": "masks", "num_workers": 0}
    settings |= {"crop_size": 32, "batch_size": 2, "seed": 3}
    return VOC2012(
        str(voc_root), supervision=supervision, extra_roots=extra_roots, **(settings | options)
    )


def training_set(voc_root, extra_roots, supervision="pairs", **options):
    data = voc(voc_root, extra_roots, supervision, **options)
    data.setup("fit")
    return data._train


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def test_training_set_is_the_split_and_all_tagged_extra_images(voc_root, tmp_path):
    roots = {"web": extra_root(tmp_path / "w"), "single-1": extra_root(tmp_path / "s", ["a,dog"])}
    images = training_set(voc_root, roots, "image_labels")
    extra = ["web/a", "web/b", "web/d", "web/sub/c", "single-1/a"]
    assert list(images.ids) == VOC_IDS["train"] + extra
    samples = [images[index] for index in range(len(images))]
    assert set(samples[0]) == {"image", "image_labels", "image_id", "domain"}
    assert [sample["image_id"] for sample in samples] == list(images.ids)
    assert [sample["domain"].item() for sample in samples] == [0] * 4 + [1] * 4 + [2]
    assert all(s["domain"].shape == () and s["domain"].dtype == torch.int64 for s in samples)
    tags = [sample["image_labels"].tolist() for sample in samples[4:]]
    assert tags == [[1, 0], [0, 1], [1, 1], [1, 1], [0, 1]]


def test_pixels_are_those_of_the_file(voc_root, tmp_path):
    source = training_set(voc_root, {"web": extra_root(tmp_path / "w")}, "image_labels").source
    data = Folder(str(tmp_path / "w"))
    (tmp_path / "w/classes.txt").write_text("background\ncat\ndog\n")
    np.testing.assert_array_equal(source.read_image("web/sub/c"), data.read_image("sub/c"))
    np.testing.assert_array_equal(
        source.read_image("2007_01"), voc(voc_root, None).read_image("2007_01")
    )


def test_batches_hold_domains(voc_root, tmp_path):
    data = voc(voc_root, {"web": extra_root(tmp_path / "w")}, batch_size=8)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    for part in (batch, batch["other"]):
        assert part["domain"].shape == (8,)
        assert part["domain"].dtype == torch.int64
        assert part["domain"].tolist() == [int(i.startswith("web/")) for i in part["image_id"]]
    assert (batch["image_labels"] * batch["other"]["image_labels"]).sum(1).all()


def test_partners_are_drawn_over_all_domains(voc_root, tmp_path):
    pairs = training_set(voc_root, {"web": extra_root(tmp_path / "w")})
    drawn = [pairs[(index, draw)] for index in range(len(pairs)) for draw in range(20)]
    kinds = {(sample["domain"].item(), sample["other"]["domain"].item()) for sample in drawn}
    assert kinds == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(sample["image_id"] != sample["other"]["image_id"] for sample in drawn)


@pytest.mark.parametrize("supervision", REGIMES)
@each("extra_roots", [None, {}])
def test_no_domain_without_extra_roots(voc_root, supervision, extra_roots):
    sample = training_set(voc_root, extra_roots, supervision)[0]
    assert "domain" not in sample
    assert "domain" not in sample.get("other", {})


def test_images_of_the_data_set_are_drawn_as_without_extra_roots(voc_root, tmp_path):
    plain = training_set(voc_root, None, "image_labels")
    joined = training_set(voc_root, {"web": extra_root(tmp_path / "w")}, "image_labels")
    for index in range(len(plain)):
        sample = dict(joined[(index, 7)])
        del sample["domain"]
        assert same(sample, plain[(index, 7)])


@pytest.mark.parametrize("supervision", REGIMES)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_draw_depends_on_seed_index_and_draw_alone(voc_root, tmp_path, supervision):
    root = extra_root(tmp_path / "w")
    images = training_set(voc_root, {"web": root}, supervision)
    copy = pickle.loads(pickle.dumps(images))
    torch.manual_seed(1)
    for position in [(5, 2), (0, 3)]:
        assert same(images[position], copy[position])
    assert not same(images[(5, 2)], images[(5, 3)])
    other_seed = training_set(voc_root, {"web": root}, supervision, seed=4)
    assert not same(images[(5, 2)], other_seed[(5, 2)])
    loaders = []
    for num_workers in (0, 2):
        data = voc(voc_root, {"web": root}, supervision, num_workers=num_workers)
        data.setup("fit")
        loaders.append(list(data.train_dataloader()))
    assert len(loaders[0]) == 4
    assert all(same(first, second) for first, second in zip(*loaders, strict=True))


def test_a_fresh_loader_goes_on_inside_an_epoch(voc_root, tmp_path, monkeypatch):
    root = extra_root(tmp_path / "w")
    loaders = []
    for done in (0, 3):
        data = voc(voc_root, {"web": root})
        data.setup("fit")
        monkeypatch.setattr(data, "_batches_done", lambda done=done: done)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(2)
        loaders.append(list(loader))
    assert same(loaders[0][3], loaders[1][0])


def test_evaluation_is_as_without(voc_root, tmp_path):
    root = extra_root(tmp_path / "w")
    for supervision in [*REGIMES, "mask"]:
        data = voc(voc_root, {"no name": "nowhere"} if supervision == "mask" else {"web": root})
        data.setup("validate")
        data.setup("predict")
        assert data.predict_ids() == VOC_IDS["train"]
        ids = [batch["image_id"][0] for batch in data.predict_dataloader()]
        assert ids == VOC_IDS["train"]
        assert all("domain" not in batch for batch in data.val_dataloader())
        assert data.image_labels_of("web/a") is None


def test_shapes_with_a_json_and_with_a_table(tmp_path):
    names = Shapes().fg_names
    extra_root(tmp_path / "json", None)
    (tmp_path / "json/image_labels.json").write_text(f'{{"a": ["{names[2]}"], "b": []}}')
    extra_root(tmp_path / "table", None)
    table = f"id,{names[1]},{names[5]}\na,1,1\nb,0,0\nd,0,1\n"
    (tmp_path / "table/image_labels.csv").write_text(table)
    roots = {name: str(tmp_path / name) for name in ("json", "table")}
    settings = {"image_size": 64, "crop_size": 48, "num_train": 6, "num_val": 2}
    data = Shapes(supervision="pairs", extra_roots=roots, **settings)
    data.setup("fit")
    images = pickle.loads(pickle.dumps(data._train)).images
    assert list(images.ids[6:]) == ["json/a", "table/a", "table/d"]
    present = [np.flatnonzero(images.tags[image_id]).tolist() for image_id in images.ids[6:]]
    assert present == [[2], [1, 5], [5]]


def test_tags_that_are_not_in_use_are_dropped_and_counted(voc_root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = extra_root(tmp_path / "w", ["a,cat;sofa", "b,sofa;person", "sub/c,dog", "d,"])
    images = training_set(voc_root, {"web": root}, "image_labels")
    assert list(images.ids[4:]) == ["web/a", "web/sub/c"]
    assert images.tags["web/a"].tolist() == [1, 0]
    assert f"{root}: 3 tags of classes that are not in use were dropped" in caplog.text
    assert f"{root}: 3 of 5 images are left out, as they have no tag" in caplog.text


def test_nothing_is_said_if_nothing_is_left_out(voc_root, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    root = extra_root(tmp_path / "w", ["a,cat", "b,dog"], ("a", "b"))
    training_set(voc_root, {"web": root}, "image_labels")
    assert root not in caplog.text


@pytest.mark.parametrize("rows", [["a,cat", "b,zebra"], ["a,cat", "b,dogs"]])
def test_unknown_tag_names_root_name_and_remedy(voc_root, tmp_path, rows):
    root = extra_root(tmp_path / "w", rows)
    name = rows[1].partition(",")[2]
    problem = rf"w/image_labels.csv tags image 'b' with the unknown class '{name}'.*correct it"
    with pytest.raises(ValueError, match=problem):
        training_set(voc_root, {"web": root})
    # That the root lists it as a class does not make the data set know it.
    (tmp_path / "w/classes.txt").write_text(f"background\ncat\n{name}\n")
    with pytest.raises(ValueError, match=problem):
        training_set(voc_root, {"web": root})


def test_unknown_classes_of_the_root_that_no_tag_names(voc_root, tmp_path):
    root = extra_root(tmp_path / "w", None)
    (tmp_path / "w/image_labels.csv").write_text("id,zebra,dog\na,0,1\n")
    with pytest.raises(ValueError, match=r"w/image_labels.csv, line 1: column 'zebra' is none"):
        training_set(voc_root, {"web": root})
    (tmp_path / "w/classes.txt").write_text("background\nzebra\ndog\n")
    images = training_set(voc_root, {"web": root}, "image_labels")
    assert images.tags["web/a"].tolist() == [0, 1]
    (tmp_path / "w/image_labels.csv").write_text("id,zebra,dog\na,1,1\n")
    with pytest.raises(ValueError, match="unknown class 'zebra'"):
        training_set(voc_root, {"web": root})


@pytest.mark.parametrize("supervision", ["mask", "images", "semi", "weak_shot"])
def test_other_regimes_refuse(voc_root, tmp_path, supervision):
    data = voc(voc_root, {"web": extra_root(tmp_path / "w")}, supervision)
    problem = (
        rf"extra_roots \{{'web': .*supervision '{supervision}' cannot use; leave it out, or take a "
        "method that learns from 'image_labels' or 'pairs'"
    )
    with pytest.raises(ValueError, match=problem):
        data.setup("fit")


@each("domain", ["", ".", "..", "a/b", "a b", "a.b", "a\\b", "é", "web\n"])
def test_domain_must_be_a_plain_name(voc_root, tmp_path, domain):
    with pytest.raises(ValueError, match=r"domain name .*letters, digits, - and _ only"):
        training_set(voc_root, {domain: extra_root(tmp_path / "w")})


@pytest.mark.parametrize("image_id", ["web/img", "web"])
def test_domain_must_not_be_a_folder_or_image_of_the_data_set(folder_root, tmp_path, image_id):
    save_image(folder_root / f"images/{image_id}.jpg")
    save_mask(folder_root / f"masks/{image_id}.png", [1])
    root = extra_root(tmp_path / "w", ["a,cup"])
    settings = {"supervision": "pairs", "train_split": "all", "crop_size": 32, "val_split": None}
    (folder_root / "image_labels.csv").write_text("id,classes\nimg 4,cup\nimg 5,cup\n")
    data = Folder(str(folder_root), extra_roots={"web": root}, **settings)
    with pytest.raises(
        ValueError, match=rf"'web', but the data set's own image '{image_id}' begins"
    ):
        data.setup("fit")
    data = Folder(str(folder_root), extra_roots={"net": root}, **settings)
    data.setup("fit")
    assert data._train.images.ids[-2:] == [image_id, "net/a"]


def test_links_out_of_the_root_are_refused_where_the_data_set_refuses_them(folder_root, tmp_path):
    save_image(tmp_path / "elsewhere.jpg")
    root = extra_root(tmp_path / "w", ["a,cup", "linked,cup"])
    (tmp_path / "w/images/linked.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    settings = {"supervision": "image_labels", "extra_roots": {"web": root}, "crop_size": 32}
    with pytest.raises(ValueError, match=r"linked.jpg is a link that leads out of the data root"):
        Folder(str(folder_root), **settings).setup("fit")
    data = Folder(str(folder_root), outside_links=True, **settings)
    data.setup("fit")
    assert data._train.ids[-2:] == ["web/a", "web/linked"]


def test_missing_folders_images_and_tags(voc_root, tmp_path):
    def refused(kind, problem, root):
        with pytest.raises(kind, match=problem):
            training_set(voc_root, {"web": str(root)})

    refused(FileNotFoundError, "extra root .*w of domain 'web' is no folder", tmp_path / "w")
    (tmp_path / "w/images").mkdir(parents=True)
    refused(FileNotFoundError, "extra root .*w has no images in .*images", tmp_path / "w")
    root = extra_root(tmp_path / "w", None)
    refused(FileNotFoundError, "extra root .*w has no tag file image_labels.csv", root)
    for rows in ([], ["a,", "b,"], ["a,sofa"]):
        extra_root(tmp_path / "w", rows)
        refused(ValueError, "extra root .*w: none of its 5 images is tagged with a class", root)
    extra_root(tmp_path / "w", ["a,cat", "e,dog"])
    refused(ValueError, r"w/image_labels.csv has tags for 'e', which is no image", root)
    extra_root(tmp_path / "w", ["a,cat"])
    (tmp_path / "w/image_labels.json").write_text("{}")
    refused(ValueError, "w has image_labels.csv and image_labels.json; delete one", root)


def test_corrupt_image_is_found(voc_root, tmp_path):
    root = extra_root(tmp_path / "w")
    (tmp_path / "w/images/b.jpg").write_bytes(b"")
    with pytest.raises(OSError, match=r"w/images/b\.jpg"):
        training_set(voc_root, {"web": root})
    # An image that training does not use may be whatever it is.
    extra_root(tmp_path / "w", ["a,cat"])
    (tmp_path / "w/images/b.jpg").write_bytes(b"")
    training_set(voc_root, {"web": root})


@pytest.mark.parametrize(
    "args", [["--extra_roots={web: /w, b: /b}"], ["--extra_roots.web=/w", "--extra_roots.b=/b"]]
)
def test_command_line(args):
    parser = ArgumentParser()
    parser.add_class_arguments(Shapes)
    assert parser.parse_args(args).extra_roots == {"web": "/w", "b": "/b"}
