"""What is said before a training about the labels that it learns from."""

from types import SimpleNamespace

import pytest

from wsss_zoo.callbacks.training.run_summary import summary


class Photos(SimpleNamespace):
    pseudo_label_dir = None


def said(regime, data, loaders):
    trainer = SimpleNamespace(
        datamodule=data,
        train_dataloader=loaders,
        estimated_stepping_batches=10,
        num_training_batches=5,
        accumulate_grad_batches=1,
        global_step=0,
        enable_validation=False,
    )
    return summary(trainer, SimpleNamespace(supervision=regime))


def batches(count):
    return SimpleNamespace(dataset=range(count))


@pytest.mark.parametrize(
    ("folders", "split", "words"),
    [
        (None, None, "4 images with masks and 9 images without masks of Photos; 10 steps"),
        ("a", None, "4 images with pseudo-labels (a) and 9 images without masks of Photos"),
        (["a", "b"], "few", "4 images with pseudo-labels or masks (a, b) and 9 images without"),
    ],
)
def test_the_labeled_half_may_be_pseudo_labels(folders, split, words):
    data = Photos(pseudo_label_dir=folders, labeled_split=split)
    loaders = {"labeled": batches(4), "unlabeled": batches(9)}
    assert said("semi", data, loaders).startswith(f"SimpleNamespace trains on {words}")


@pytest.mark.parametrize(
    ("regime", "labels"), [("mask", "with masks"), ("pairs", "with tags, in pairs"), ("x", "")]
)
def test_one_set_of_images(regime, labels):
    line = said(regime, Photos(labeled_split=None), batches(1))
    assert line.startswith(f"SimpleNamespace trains on 1 image {labels}".rstrip() + " of Photos;")
