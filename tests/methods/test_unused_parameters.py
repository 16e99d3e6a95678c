"""Every trained parameter gets a gradient in every step, whatever the batch or the options.

Distributed training refuses a parameter without one, in the step after. With a gradient of 0 it
goes on, and no option to look for unused parameters is needed.
"""

import pytest
import torch
from pytorch_lightning import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from tests.methods.zoo import CASES, KINDS, REGIMES, make_data, make_method, quick

pytestmark = pytest.mark.filterwarnings(
    "ignore::lightning_fabric.utilities.warnings.PossibleUserWarning"
)
# What hides a part of the network or a loss, beside the weights of losses.
OPTIONS = {
    "CAM": [{"frozen_stages": 3}],
    "CoAttention": [{"by_domain": True}, {"affinity": "cosine"}],
    "CPC": [{"predict_rows": 9}],
    "SelfRegulation": [{"exits": 2}, {"exit_head": "full"}, {"warmup_steps": 2}],
    "FixMatch": [{"conf_thresh": 1.0, "labels_from": "average"}, {"loss": "ohem"}],
    "UniMatch": [{"conf_thresh": 1.0}],
    "UniMatchV2": [
        {"conf_thresh": 1.0},
        {"backbone": "test_vit", "architecture": "dpt", "layer_decay": 0.5},
        {"backbone": "test_vit2", "architecture": "linear", "freeze_backbone": True},
    ],
    "PseudoSeg": [{"conf_thresh": 1.0}, {"use_tags": False, "label": "hard"}],
    "Sparse": [
        {"conf_thresh": 1.0},
        {"teacher": False, "crf_weight": 1.0, "crf_start": 0.0, "mixture_weight": 1.0},
        {"cutmix_prob": 1.0, "tree_weight": 0.4},
    ],
    "PiModel": [{"detach_first": True}],
    "CPS": [{"cutmix": False}],
    "MeanTeacher": [{"student_view": "weak"}],
    "GATCorrector": [{"balance": True}, {"use_probs": True}, {"prune": False}],
}


class Missing(Callback):
    """Notes the trained parameters without a gradient after each backward pass."""

    def __init__(self):
        self.steps = []

    def on_after_backward(self, trainer, method):
        trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
        self.steps.append([name for name, p in trained.items() if p.grad is None])
        gradients = [p.grad for p in trained.values() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)


def emptied(batch, name=""):
    """The batch without a label: ignored masks, padding alone, no tag, no clean pixel."""
    if isinstance(batch, dict):
        return {key: emptied(value, key) for key, value in batch.items()}
    if name == "graph":
        batch = batch.clone()
        batch.counts, batch.clean_counts = 0 * batch.counts, 0 * batch.clean_counts
        return batch
    if not isinstance(batch, Tensor):
        return batch
    if name in ("mask", "audit_mask"):
        return torch.full_like(batch, 255)
    absent = name in ("valid", "strong_valid", "image_labels", "has_image_labels")
    return torch.zeros_like(batch) if absent else batch


def batches_of(case, folder):
    """A full one, one without a label, and a full one again."""
    data = make_data(case, folder, image_size=32, crop_size=32)
    data.setup("fit")
    batches = iter(data.train_dataloader())
    first, second = next(batches), next(batches)
    # Lightning's loader of several gives a tuple.
    first, second = (one[0] if isinstance(one, tuple) else one for one in (first, second))
    return data, [first, emptied(second), second]


def variants(case):
    """The case itself, without each of its weighted losses and without all of them, and more."""
    name = CASES[case][0]
    own = make_method(case).hparams
    weights = [option for option in own if option.endswith("_weight")]
    without = [{option: 0.0} for option in weights if option != "pair_weight"]
    found: list[dict] = []
    for options in [{}, *without, dict.fromkeys(weights, 0.0), *OPTIONS.get(name, [])]:
        if options not in found:
            found.append(options)
    return found


@pytest.mark.parametrize("case", quick(CASES, KINDS))
def test_no_trained_parameter_is_left_out(case, trainer, tmp_path):
    data, batches = batches_of(case, tmp_path)
    for options in variants(case):
        method, missing = make_method(case, **options), Missing()
        if hasattr(method, "is_base"):
            novel = REGIMES["weak_shot"]["novel_classes"]
            method.is_base[[data.class_names.index(name) for name in novel]] = False
        fit = trainer(callbacks=[missing], max_epochs=1)
        fit.fit(method, DataLoader(batches, batch_size=None))
        assert missing.steps == [[]] * len(batches), options
