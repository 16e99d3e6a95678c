"""Segmentation from scribbles, points, boxes and part masks."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from wsss_zoo import functional
from wsss_zoo.contract import SparseBatch, UnlabeledBatch, find_data
from wsss_zoo.functional.tensors import at_least_float32
from wsss_zoo.methods.options import check_not_negative, check_shares
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.semi.base import SemiMethod
from wsss_zoo.modules import WeightAverage

Terms = dict[str, tuple[float, Tensor]]  # weight and loss by name


class Sparse(SemiMethod):
    """Labelled pixels teach directly; a running average of the weights labels the others.

    L = L_partial + absent_weight L_absent + unlabeled_weight L_u, and three optional terms.
    L_partial is `partial_cross_entropy` over the labelled pixels. L_absent is
    `candidate_cross_entropy` over the others, with what tags, boxes or complete labels leave. L_u
    is `fixmatch_loss` over the others: the average labels the weak view, among the possible
    classes, and its sure labels teach the student. The student sees the weak view of crops that
    have a labelled pixel, and the strong view of the others. The optional terms take their
    colours from the weak view.

    Args:
        reduction: "image" averages over the labelled pixels of an image, then over images; "pixel"
            over all labelled pixels.
        absent_weight: Factor on L_absent.
        teacher: Learn unlabelled pixels from the average. False trains on the weak view.
        conf_thresh: Confidence in [0, 1] from which a label of the average counts.
        unlabeled_weight: Factor on L_u.
        cutmix_prob: Probability that a view is mixed with the next one of the batch.
        crf_weight: Factor on `gated_crf_loss`; try 0.03. This and the next two terms need crops
            of a multiple of the network's output stride.
        mixture_weight: Factor on `gaussian_mixture_loss`; try 1.
        tree_weight: Factor on `tree_energy_loss`, which waits for the device; try 0.4.
        crf_start: Share of the training, in [0, 1], before the gated CRF begins.

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
        more = {"mixture_weight": mixture_weight, "tree_weight": tree_weight}
        check_not_negative(crf_weight=crf_weight, **more)
        super().__init__(
            num_classes,
            backbone,
            gate_by_tags=False,
            loss="ce",
            ohem_thresh=0.7,
            ohem_min_kept=100_000,
            **shared,
        )
        self.needed_views = int(teacher)
        if tree_weight:
            channels = self.network.decoder.out_channels
            layers = [nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]
            self.embedding = nn.Sequential(*layers, nn.ReLU())
            self.start_from(self.hparams["init_from"])

    def setup(self, stage: str) -> None:
        """Refuse crops that the optional terms cannot compare with the network's cells."""
        super().setup(stage)
        crop = getattr(find_data(self.trainer), "crop_size", None)
        stride = self.network.backbone.strides[-1]
        terms = [n for n in ("crf_weight", "mixture_weight", "tree_weight") if self.hparams[n]]
        if stage == "fit" and terms and crop is not None and crop % stride:
            raise ValueError(
                f"{terms[0]} needs crops of a multiple of the output stride {stride}, but "
                f"data.crop_size is {crop}; take {max(crop // stride, 1) * stride}"
            )

    def make_average(self) -> WeightAverage | None:
        """Make the running average, if it teaches or is evaluated."""
        if self.hparams["teacher"]:
            return WeightAverage(self.network, self.hparams["ema_decay"])
        return super().make_average()

    def training_step(self, batch: SparseBatch, batch_idx: int) -> Tensor:
        """Compute the weighted sum of all terms."""
        mask, possible, weak = batch["mask"], batch["possible"], batch["image"]
        views = {"view": weak, "weak": weak, "valid": batch["valid"]}
        if self.average is not None and self.hparams["teacher"]:
            is_labeled = (mask != 255).flatten(1).any(1)[:, None, None]
            strong, seen = batch["strong"][:, 0], batch["strong_valid"][:, 0]
            views["view"] = torch.where(is_labeled[:, None], weak, strong)
            views["valid"] = torch.where(is_labeled, batch["valid"], seen)
            logits = at_least_float32(self.average(weak)).masked_fill(~possible, -torch.inf)
            views["confidence"], views["label"] = logits.softmax(1).max(1)
            unknown = {**batch, "valid": views["valid"] & (mask == 255)}
            kept = views["confidence"] >= self.hparams["conf_thresh"]
            self.log_pseudo_labels(cast(UnlabeledBatch, unknown), views["label"], kept)
        if self.hparams["cutmix_prob"]:
            full_size = possible.expand(-1, -1, *mask.shape[1:])
            mixed = self._mix(views | {"mask": mask, "possible": full_size})
            views, mask, possible = mixed, mixed["mask"], mixed["possible"]
        mask = mask.masked_fill(~views["valid"], 255)
        terms = self._terms(views, mask, possible)
        loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
        self.log_dict({f"train/loss_{name}": term.detach() for name, (_, term) in terms.items()})
        self.log("train/loss", loss.detach())
        return loss

    def _terms(self, views: dict[str, Tensor], mask: Tensor, possible: Tensor) -> Terms:
        """Compute all terms, with their weights."""
        options, view, valid, weak = self.hparams, views["view"], views["valid"], views["weak"]
        features = self.network.decoder(self.network.features(view))
        cells = self.network.head(features)
        logits = self.network.upsample(cells, (view.shape[-2], view.shape[-1]))
        unknown, labeled = valid & (mask == 255), mask != 255
        terms: Terms = {}

        def add(name: str, weight: float, mean: Tensor, count: Tensor) -> None:
            terms[name] = weight, share_of_global_mean(mean, count.sum())

        reduction = options["reduction"]
        partial = functional.partial_cross_entropy(logits, mask, reduction)
        add("labeled", 1.0, partial, labeled.flatten(1).any(1) if reduction == "image" else labeled)
        if weight := options["absent_weight"]:
            absent = functional.candidate_cross_entropy(logits, possible, unknown)
            add("absent", weight, absent, unknown & ~possible.all(1))
        if "label" in views and (weight := options["unlabeled_weight"]):
            label, sure = views["label"], options["conf_thresh"]
            taught = functional.fixmatch_loss(logits, label, views["confidence"], sure, unknown)
            add("unlabeled", weight, taught, unknown)
        if (weight := options["crf_weight"]) and self._crf_has_begun():
            crf = functional.gated_crf_loss(at_least_float32(cells).softmax(1), weak, valid)
            add("crf", weight, crf, valid)
        if weight := options["mixture_weight"]:
            mixture = functional.gaussian_mixture_loss(logits, features, mask, valid)
            add("mixture", weight, mixture, valid)
        if weight := options["tree_weight"]:
            probs, embedded = at_least_float32(cells).softmax(1), self.embedding(features)
            tree = functional.tree_energy_loss(probs, weak, embedded, unknown)
            add("tree", weight, tree, unknown)
        return terms

    def _crf_has_begun(self) -> bool:
        start = self.hparams["crf_start"]
        steps = self.trainer.estimated_stepping_batches if start else 0
        return not start or self.trainer.global_step >= start * steps

    def _mix(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fill a box of each image, and of all that belongs to it, from the next one."""
        mask, prob = tensors["mask"], self.hparams["cutmix_prob"]
        size = mask.shape[1], mask.shape[2]
        box = functional.draw_cutmix_boxes(len(mask), size, prob, device=mask.device)
        return {name: functional.cutmix(x, x.roll(1, 0), box) for name, x in tensors.items()}
