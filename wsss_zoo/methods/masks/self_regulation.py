"""Self-Regulation: a segmenter whose shallow and deep exits teach each other."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.contract import MaskBatch
from wsss_zoo.functional import feature_regulation_loss, mask_to_image_labels, self_regulation_loss
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.methods.segmentation import SegmentationMethod
from wsss_zoo.modules import (
    ExitHead,
    MultiExit,
    inner_features,
    mask_of_cells,
    padded_size,
    to_cells,
)

Variant = Literal["soft", "code", "features"]


class SelfRegulation(SegmentationMethod):
    """Segmenter with exits at its stages in training, which teach each other.

    Every exit learns from the mask. Besides, the shallowest exit teaches the deeper ones detail
    (SR-F), and the deepest teaches the shallower ones which classes are there (SR-L).

    Prediction runs the plain network alone. A checkpoint of this method starts a `Supervised` by
    ``init_from``; ``wsss-zoo export --format supervised`` makes it one of `Supervised`.
    ``architecture: unet`` has exits in the decoder too. The exits may be missing in ``init_from``.

    Args:
        variant: What SR-F and SR-L compare. "soft": tempered pixel and class probabilities. "code",
            as in the authors' code: the shallowest exit's arg-max and plain class probabilities.
            "features": SR-F on feature maps (`feature_regulation_loss`), SR-L as in "soft".
        tau: Temperature of ``soft`` and ``features``.
        exits: Number of exits, the deepest ones; null for all that the network has.
        exit_head: "light", or "full" (the authors' heads, which more than double the cost of
            training); see `MultiExit`.
        cls_weight: Weight of the classification loss of all exits; 0 switches it off.
        seg_weight: Weight of the segmentation loss of all exits.
        sr_f_weight: Weight of SR-F; 0 switches it off.
        sr_l_weight: Weight of SR-L; 0 switches it off.
        warmup_steps: Steps at the start without SR-F and SR-L.
        presence: Where the classes' presence is read: from the "mask" of the crop, or the "tags" of
            the image with the background. A crop of 255 alone shows no class, not even the
            background: take "tags" for labels that leave whole images open.
        ignored_as_background: Take pixels of 255 for background, as the authors' code does; only
            with ``code``.

    Raises:
        ValueError: If an option is out of range, or the network has too few exits.

    Zhang, Zhang, Tang, Hua, Sun, "Self-Regulation for Semantic Segmentation", ICCV 2021;
    dongzhang89/SR-SS @ 90a8e86. Differences from the paper and the authors' code:

    * ``soft`` and ``features`` are our readings of the paper. Its axes, temperature and matching of
      channels are not known to us.
    * The authors' code upsamples logits with align_corners=True. Its warm-up of 10000 steps is in
      its description only.
    * The authors' code has no U shape. A note on the paper has SR-F among the blocks of its encoder
      and SR-L among those of its decoder. In this implementation, in "unet" too, the first exit and
      the last one teach all others.
    """

    supervision = "mask"
    needs_background = True
    fixed_options = ("loss", "ohem_thresh", "ohem_min_kept")

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        variant: Variant = "soft",
        tau: float = 1.0,
        exits: int | None = None,
        exit_head: ExitHead = "light",
        cls_weight: float = 0.2,
        seg_weight: float = 0.8,
        sr_f_weight: float = 1.0,
        sr_l_weight: float = 1.0,
        warmup_steps: int = 0,
        presence: Literal["mask", "tags"] = "mask",
        ignored_as_background: bool = False,
        **shared: Any,
    ) -> None:
        if tau <= 0:
            raise ValueError(f"tau is {tau}; give a temperature above 0")
        if ignored_as_background and variant != "code":
            raise ValueError(
                f"ignored_as_background is of the authors' code, but variant is {variant!r}; set "
                "variant to 'code' or leave it out"
            )
        super().__init__(
            num_classes, backbone, loss="ce", ohem_thresh=0.7, ohem_min_kept=100_000, **shared
        )
        projections = variant == "features" and sr_f_weight > 0
        self.exits = MultiExit(self.network, num_classes, exits, exit_head, projections)
        self.start_from(self.hparams["init_from"])

    def training_step(self, batch: MaskBatch, batch_idx: int) -> Tensor:
        """Add the losses of all exits and, from ``warmup_steps`` on, SR-F and SR-L."""
        image, mask = batch["image"], batch["mask"]
        if self.hparams["ignored_as_background"]:
            mask = mask.masked_fill(mask == 255, 0)
        padded = padded_size(self.network.backbone, image)
        inner, decoded = inner_features(self.network, image)
        maps, scores = self.exits(inner, self.network.head(decoded))
        cells = mask_of_cells(mask, padded, self.exits.cell)
        variant: Literal["soft", "code"] = "code" if self.hparams["variant"] == "code" else "soft"
        losses = self_regulation_loss(
            to_cells(maps, padded, self.exits.cell),
            scores,
            cells,
            self._presence(batch, mask),
            variant,
            self.hparams["tau"],
        )
        known = (cells != 255).sum()
        losses["seg"] = share_of_global_mean(losses["seg"], known)
        if self.exits.projections:
            losses["sr_f"] = self._feature_loss(inner, decoded, mask, padded)
        else:
            losses["sr_f"] = share_of_global_mean(losses["sr_f"], known)
        taught = float(self.trainer.global_step >= self.hparams["warmup_steps"])
        weights = {"cls": 1.0, "seg": 1.0, "sr_f": taught, "sr_l": taught}
        loss = torch.zeros((), device=image.device)
        for name, factor in weights.items():
            loss = loss + factor * self.hparams[f"{name}_weight"] * losses[name]
            self.log(f"train/loss_{name}", losses[name].detach())
        self.log("train/loss", loss.detach())
        return loss

    def _presence(self, batch: MaskBatch, mask: Tensor) -> Tensor:
        """Which classes are there, the background included, (N, C)."""
        if self.hparams["presence"] == "mask":
            shown = mask_to_image_labels(mask, self.hparams["num_classes"])
            background = (mask == 0).flatten(1).any(1, keepdim=True)
        else:
            shown = batch["image_labels"]
            background = torch.ones_like(shown[:, :1])
        return torch.cat([background.to(shown), shown], 1)

    def _feature_loss(
        self, inner: list[Tensor], decoded: Tensor, mask: Tensor, padded: tuple[int, int]
    ) -> Tensor:
        """SR-F on feature maps, on cells of 4 x 4 pixels, or fewer where patches ask for it."""
        students, teacher = self.exits.project(inner, decoded)
        cell = self.exits.light_cell
        valid = mask_of_cells(mask, padded, cell) != 255
        height, width = valid.shape[-2:]
        # The teacher's mean over each cell: with all exits it is at least as fine as they are.
        teacher = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
        teacher = F.adaptive_avg_pool2d(teacher, (height, width))
        loss = feature_regulation_loss(
            to_cells(students, padded, cell), teacher, valid, self.hparams["tau"]
        )
        return share_of_global_mean(loss, valid.sum())
