"""Every method of the zoo in a small size, and the images it trains on: for tests over all."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.data.graph_folders import write_graphs
from wsss_zoo import BaseMethod, Shapes, methods

TINY = {"backbone": "test_efficientnet"}
SEMI = TINY | {"ema_decay": 0.6, "evaluate": "average"}
# Of a network that the defaults of UniMatchV2 do not fit.
DILATED = {"architecture": "deeplabv3plus", "output_stride": 16, "lr": 1e-4, "head_lr_mult": 10.0}
VIT = {"backbone": "test_vit", "output_stride": 16}
PROPOSALS = {"queries": 7, "channels": 16, "decoder_layers": 2, "feedforward": 24}
# A third of a region's pixels is clean.
GRAPHS = {"in_channels": 5, "quorum": 0.3}
# Name of a case: class and its options. Every class of the zoo has one at least.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "CAM": ("CAM", TINY),
    "CoAttention": ("CoAttention", TINY | {"output_stride": 16, "convs": 1}),
    "CoAttention code": ("CoAttention", TINY | {"output_stride": 16, "variant": "code"}),
    "CPC": ("CPC", TINY | {"patch_size": 16, "patch_stride": 8, "context_blocks": 1}),
    "Supervised": ("Supervised", TINY),
    "SelfRegulation": ("SelfRegulation", TINY | {"variant": "soft"}),
    "SelfRegulation features": ("SelfRegulation", TINY | {"variant": "features"}),
    "PiModel": ("PiModel", SEMI),
    "TemporalEnsembling": ("TemporalEnsembling", SEMI | {"ensemble_size": 8}),
    "MeanTeacher": ("MeanTeacher", SEMI),
    "FixMatch": ("FixMatch", SEMI | {"conf_thresh": 0.2}),
    "UniMatch": ("UniMatch", SEMI | {"conf_thresh": 0.2}),
    "UniMatchV2": ("UniMatchV2", SEMI | DILATED | {"conf_thresh": 0.2}),
    "CPS": ("CPS", SEMI),
    "PseudoSeg": ("PseudoSeg", SEMI),
    "Sparse": ("Sparse", SEMI | {"conf_thresh": 0.2}),
    "MaskFormer": ("MaskFormer", TINY | PROPOSALS),
    "SimFormer": ("SimFormer", TINY | PROPOSALS | {"pair_points": 10}),
    "SimFormer code": ("SimFormer", TINY | PROPOSALS | {"pair_points": 10, "pairing": "code"}),
    "GATCorrector": ("GATCorrector", GRAPHS),
    "GATCorrector gcn": ("GATCorrector", GRAPHS | {"layer": "gcn"}),
}
# One of each class; the others are variants.
PLAIN = {case for case in CASES if case == CASES[case][0]}
# One of each kind of step, for tests of what all methods share: the others differ in their loss.
KINDS = PLAIN - {"PiModel", "MeanTeacher", "UniMatch", "CPS", "MaskFormer"}
# Options with which a training step goes another way, for tests of the step alone.
STEPS: dict[str, tuple[str, dict[str, Any]]] = CASES | {
    "Supervised ohem": ("Supervised", TINY | {"loss": "ohem"}),
    "Supervised largefov": ("Supervised", TINY | {"architecture": "largefov"}),
    "Supervised unet": ("Supervised", TINY | {"architecture": "unet"}),
    "SelfRegulation code": ("SelfRegulation", TINY | {"variant": "code"}),
    "SelfRegulation tags": ("SelfRegulation", TINY | {"presence": "tags"}),
    "PiModel two strong views": ("PiModel", SEMI | {"views": "two_strong", "gate_by_tags": True}),
    "TemporalEnsembling gated": ("TemporalEnsembling", SEMI | {"gate_by_tags": True}),
    "MeanTeacher of CPS": ("MeanTeacher", TINY | {"student_view": "weak", "teacher_mode": "train"}),
    "FixMatch average": ("FixMatch", SEMI | {"labels_from": "average", "loss": "ohem"}),
    "UniMatch average": ("UniMatch", SEMI | {"labels_from": "average", "gate_by_tags": True}),
    "UniMatchV2 ViT": ("UniMatchV2", VIT | {"conf_thresh": 0.2, "layer_decay": 0.9}),
    "UniMatchV2 frozen": ("UniMatchV2", VIT | {"freeze_backbone": True, "loss": "ohem"}),
    "CAM ViT": ("CAM", {"backbone": "test_vit", "pooling": "max"}),
    "CPS unmixed": ("CPS", SEMI | {"cutmix": False, "gate_by_tags": True}),
    "PseudoSeg hard": ("PseudoSeg", SEMI | {"label": "hard", "gate_by_tags": True}),
    "Sparse without teacher": ("Sparse", TINY | {"teacher": False, "reduction": "pixel"}),
    "Sparse all terms": (
        "Sparse",
        TINY | {"cutmix_prob": 0.5, "crf_weight": 0.03, "crf_start": 0.0, "mixture_weight": 1.0},
    ),
    "Sparse tree": ("Sparse", TINY | {"teacher": False, "tree_weight": 0.4}),
    "GATCorrector balanced": ("GATCorrector", GRAPHS | {"balance": True}),
    "GATCorrector probs": ("GATCorrector", GRAPHS | {"use_probs": True}),
}


def quick(cases: Iterable[str], kept: Collection[str]) -> list[Any]:
    """Mark all cases as slow but those kept, for a test that is the same for each."""
    slow = pytest.mark.slow
    return [case if case in kept else pytest.param(case, marks=slow) for case in cases]


# What a regime needs beside the images.
REGIMES: dict[str, dict[str, Any]] = {
    "semi": {"labeled_split": 0.5, "audit": True},
    "sparse": {"sparse": "blocks", "labeled_split": 0.5, "audit": True},
    "weak_shot": {"novel_classes": ["fox", "crane"]},
}


def make_method(case: str, num_classes: int = 7, **options: Any) -> BaseMethod:
    """The method of a case; its weights are those of torch's generator."""
    name, own = STEPS[case]
    kind = getattr(methods, name)
    sizes = {} if kind.output == "pretext" else {"num_classes": num_classes}
    return kind(**(sizes | own | options))


def make_data(case: str, folder: Path, **options: Any) -> Shapes:
    """Shapes in the regime of a case: 16 images of 64 pixels in batches of 2.

    Args:
        case: Name in `STEPS`.
        folder: Where the graphs of a method that trains on graphs are written, once.
        options: Of `Shapes`, in place of these.
    """
    name, own = STEPS[case]
    supervision = getattr(methods, name).supervision
    sizes = {"image_size": 64, "crop_size": 64, "num_train": 16, "num_val": 2, "batch_size": 2}
    regime = REGIMES.get(supervision, {})
    if name in ("UniMatch", "UniMatchV2") or own.get("views") == "two_strong":
        regime = regime | {"strong_views": 2}
    settings = sizes | {"num_workers": 0, "supervision": supervision} | regime | options
    data = Shapes(**settings)
    if supervision == "graphs":
        graphs = folder / "graphs"
        if not (graphs / "manifest.json").exists():
            size = settings["image_size"]
            ids = data.split_ids("train")
            write_graphs(graphs, ids, data.class_names, size=(size, size))
        data = Shapes(**settings, graph_dir=str(graphs))
    return data
