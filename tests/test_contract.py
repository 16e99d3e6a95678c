"""Batches, data modules and methods are what the contract says."""

import re
from typing import Annotated, NotRequired, get_args, get_origin, get_type_hints

import pytest
from pytorch_lightning import Trainer
from torch import Tensor

from tests.data.graph_folders import write_graphs
from wsss_zoo.contract import (
    BATCHES,
    DataModule,
    GraphEvaluationBatch,
    Method,
    data_of,
    find_data,
)
from wsss_zoo.data import Shapes
from wsss_zoo.methods import Supervised

IDS = [f"train_{number:06d}" for number in range(12)]
GRAPH = {"size": (64, 64), "grid": (4, 5)}
# As the contract writes them.
LENGTHS = {"N": 2, "C": 7, "H": 48, "W": 48, "K": 6, "V": 3}


def shapes(**options):
    tiny = {"num_train": 12, "num_val": 2, "image_size": 64, "crop_size": 48}
    return Shapes(**tiny | {"batch_size": 2, "num_workers": 0} | options)


def check(batch, kind, lengths):
    """Assert that a batch has the keys of a kind, each of the shape that is told of it."""
    assert set(batch) - kind.__optional_keys__ == kind.__required_keys__
    hints = get_type_hints(kind, include_extras=True)
    for key, value in batch.items():
        hint = get_args(hints[key])[0] if get_origin(hints[key]) is NotRequired else hints[key]
        assert get_origin(hint) is Annotated
        part, about = get_args(hint)
        if isinstance(value, Tensor):
            letters = re.findall(r"\w+", about.partition(")")[0])
            assert value.shape == tuple(int(lengths.get(n, n)) for n in letters), key
        elif isinstance(value, dict):
            check(value, part, lengths)
        elif key == "image_id":
            assert len(value) == lengths["N"]


@pytest.mark.parametrize("supervision", [name for name in BATCHES if name != "evaluation"])
def test_training_batches_hold_what_is_said(supervision, tmp_path):
    options = {"novel_classes": ["fox"]} if supervision == "weak_shot" else {}
    if supervision == "semi":
        options = {"labeled_split": 0.5, "audit": True, "strong_views": 3}
    if supervision == "sparse":
        options = {"complete_sparse": True, "audit": True, "strong_views": 3}
    if supervision == "graphs":
        folder = write_graphs(tmp_path, IDS, list(Shapes().class_names), **GRAPH)
        options = {"graph_dir": str(folder)}
    data = shapes(supervision=supervision, **options)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    batch = batch[0] if isinstance(batch, tuple) else batch
    check(batch, BATCHES[supervision], LENGTHS)
    optional = BATCHES[supervision].__optional_keys__ - {"domain"}
    assert optional <= set(batch)


def test_evaluation_batches_hold_what_is_said(tmp_path):
    lengths = LENGTHS | {"N": 1, "H": 64, "W": 64}
    data = shapes()
    data.setup("validate")
    check(next(iter(data.val_dataloader())), BATCHES["evaluation"], lengths)
    folder = write_graphs(tmp_path, IDS, list(Shapes().class_names), **GRAPH)
    graphs = shapes(supervision="graphs", graph_dir=str(folder))
    graphs.setup("predict")
    check(next(iter(graphs.predict_dataloader())), GraphEvaluationBatch, lengths)


def test_the_bases_have_what_may_be_asked():
    asked = [name for name in vars(DataModule) if not name.startswith("_")]
    data = shapes()
    assert all(hasattr(data, name) for name in [*asked, *get_type_hints(DataModule)])
    method = Supervised(7, backbone="test_resnet")
    assert all(hasattr(method, name) for name in get_type_hints(Method))


def test_asking_for_a_data_module():
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert find_data(trainer) is None
    assert find_data(None) is None
    with pytest.raises(ValueError, match=r"^Someone needs a data module, .* datamodule="):
        data_of(trainer, "Someone")
