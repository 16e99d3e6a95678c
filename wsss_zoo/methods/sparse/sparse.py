"""Segmentation from scribbles, points, boxes and part masks."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wsss_zoo.contract import SparseBatch, UnlabeledBatch
from wsss_zoo.functional import (
    candidate_cross_entropy,
    cutmix,
    draw_cutmix_boxes,
    fixmatch_loss,
    gated_crf_loss,
    gaussian_mixture_loss,
    partial_cross_entropy,
    tree_energy_loss,
)
from wsss_zoo.functional.tensors import at_least_float32
from wsss_zoo.methods.options import check_not_negative, check_shares
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod
from wsss_zoo.modules import WeightAverage

_EMBEDDING = 256  # channels of the features that the tree energy compares


class Sparse(SemiMethod):
    """Labelled pixels teach directly; a running average of the weights labels the others.

    L = L_partial + absent_weight L_absent + unlabeled_weight L_u, and three optional terms.

    L_partial is `partial_cross_entropy` over the labelled pixels. L_absent is
    `candidate_cross_entropy` over the others: it pushes the classes down that tags, boxes or
    complete labels rule out. L_u is `fixmatch_loss` over all unlabelled pixels: the average labels
    the weak view, among the possible classes, and its sure labels teach the strong view. The
    student runs once, on the strong view. The other terms are `gated_crf_loss`,
    `gaussian_mixture_loss` and `tree_energy_loss`; their colours are those of the weak view.

    Args:
        reduction: "image" averages over the labelled pixels of an image, then over images; "pixel"
            over all labelled pixels, so that a full mask outweighs many scribbles.
        absent_weight: Factor on L_absent.
        teacher: Learn unlabelled pixels from the average of the weights. False trains on the weak
            view, and needs no strong one.
        conf_thresh: Confidence in [0, 1] from which a label of the average counts.
        unlabeled_weight: Factor on L_u.
        cutmix_prob: Probability that a view is mixed with the next one of the batch.
        crf_weight: Factor on the gated CRF; try 0.03. The crop's side must be a multiple of 4.
        crf_start: Share of the training, in [0, 1], before the gated CRF begins.
        mixture_weight: Factor on the Gaussian mixture terms of AGMM; try 1.
        tree_weight: Factor on the tree energy; try 0.4. It waits for the device.

    Sohn et al., "FixMatch", NeurIPS 2020, inside each image. Optional: Obukhov et al., "Gated CRF
    Loss", 2019; Wu et al. (AGMM), CVPR 2023; Liang et al., "Tree Energy Loss", CVPR 2022.
    """

    supervision = "sparse"
    fixed_options = ("gate_by_tags", "loss", "ohem_thresh", "ohem_min_kept")

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        reduction: Literal["image", "pixel"] = "image",
        absent_weight: float = 0.1,
        teacher: bool = True,
        conf_thresh: float = 0.8,
        unlabeled_weight: float = 1.0,
        cutmix_prob: float = 0.0,
        crf_weight: float = 0.0,
        crf_start: float = 0.1,
        mixture_weight: float = 0.0,
        tree_weight: float = 0.0,
        **shared: Any,
    ) -> None:
        check_shares(conf_thresh=conf_thresh, cutmix_prob=cutmix_prob, crf_start=crf_start)
        check_not_negative(absent_weight=absent_weight, unlabeled_weight=unlabeled_weight)
        check_not_negative(crf_weight=crf_weight, mixture_weight=mixture_weight)
        check_not_negative(tree_weight=tree_weight)
        super().__init__(num_classes, backbone, **shared)
        self.needed_views = int(teacher)
        self._crf_start = 0.0
        if tree_weight:
            channels = self.network.decoder.out_channels
            layers = [nn.Conv2d(channels, _EMBEDDING, 1, bias=False), nn.BatchNorm2d(_EMBEDDING)]
            self.embedding = nn.Sequential(*layers, nn.ReLU())
            self.start_from(self.hparams["init_from"])

    def make_average(self) -> WeightAverage | None:
        """Make the running average, if it teaches or is evaluated."""
        if self.hparams["teacher"]:
            return WeightAverage(self.network, self.hparams["ema_decay"])
        return super().make_average()

    def on_train_start(self) -> None:
        """Find the step at which the gated CRF begins."""
        if self.hparams["crf_weight"]:
            steps = self.trainer.estimated_stepping_batches
            self._crf_start = self.hparams["crf_start"] * steps

    def training_step(self, batch: SparseBatch, batch_idx: int) -> Tensor:
        """Compute the weighted sum of all terms."""
        mask, possible, weak = batch["mask"], batch["possible"], batch["image"]
        views = {"view": weak, "weak": weak, "valid": batch["valid"]}
        if self.average is not None and self.hparams["teacher"]:
            views["view"], views["valid"] = batch["strong"][:, 0], batch["strong_valid"][:, 0]
            logits = at_least_float32(self.average(weak)).masked_fill(~possible, -torch.inf)
            views["confidence"], views["label"] = logits.softmax(1).max(1)
            self._log_labels(batch, views["label"], views["confidence"])
        if self.hparams["cutmix_prob"]:
            full_size = possible.expand(-1, -1, *mask.shape[1:])
            mixed = self._mix(views | {"mask": mask, "possible": full_size})
            views, mask, possible = mixed, mixed["mask"], mixed["possible"]
        mask = mask.masked_fill(~views["valid"], 255)
        terms = self._terms(views, mask, possible)
        loss = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        self.log("train/loss", loss.detach())
        return loss

    def _terms(self, views: dict[str, Tensor], mask: Tensor, possible: Tensor) -> dict[str, Tensor]:
        """Compute all weighted terms, by their logged names."""
        options, view, valid = self.hparams, views["view"], views["valid"]
        features = self.network.decoder(self.network.features(view))
        cells = self.network.head(features)
        logits = self.network.upsample(cells, (view.shape[-2], view.shape[-1]))
        unknown, labeled = valid & (mask == 255), mask != 255
        per_image = options["reduction"] == "image"
        count = labeled.flatten(1).any(1).sum() if per_image else labeled.sum()
        partial = partial_cross_entropy(logits, mask, options["reduction"])
        terms = {"loss_labeled": share_of_global_mean(partial, count)}

        def add(name: str, weight: float, loss: Tensor, count: Tensor) -> None:
            terms[f"loss_{name}"] = weight * share_of_global_mean(loss, count)

        if weight := options["absent_weight"]:
            absent = candidate_cross_entropy(logits, possible, unknown)
            add("absent", weight, absent, (unknown & ~possible.all(1)).sum())
        if "label" in views and (weight := options["unlabeled_weight"]):
            label, confidence = views["label"], views["confidence"]
            taught = fixmatch_loss(logits, label, confidence, options["conf_thresh"], unknown)
            add("unlabeled", weight, taught, unknown.sum())
        begun = self._crf_start <= 0 or self.trainer.global_step >= self._crf_start
        if begun and (weight := options["crf_weight"]):
            crf = gated_crf_loss(at_least_float32(cells).softmax(1), views["weak"], valid)
            add("crf", weight, crf, valid.sum())
        if weight := options["mixture_weight"]:
            mixture = gaussian_mixture_loss(logits, features, mask, valid)
            add("mixture", weight, mixture, valid.sum())
        if weight := options["tree_weight"]:
            probs, embedded = at_least_float32(cells).softmax(1), self.embedding(features)
            tree = tree_energy_loss(probs, views["weak"], embedded, unknown)
            add("tree", weight, tree, unknown.sum())
        return terms

    def _mix(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fill a box of each image, and of all that belongs to it, from the next one."""
        height, width = tensors["mask"].shape[1:]
        prob, device = self.hparams["cutmix_prob"], tensors["mask"].device
        box = draw_cutmix_boxes(len(tensors["mask"]), (height, width), prob, device=device)
        return {name: cutmix(each, each.roll(1, 0), box) for name, each in tensors.items()}

    def _log_labels(self, batch: SparseBatch, label: Tensor, confidence: Tensor) -> None:
        """Log which share of the unknown pixels is learnt, and with ``audit`` how well."""
        unknown = {**batch, "valid": batch["valid"] & (batch["mask"] == 255)}
        kept = confidence >= self.hparams["conf_thresh"]
        self.log_pseudo_labels(cast(UnlabeledBatch, unknown), label, kept)
