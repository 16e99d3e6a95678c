"""SimFormer: masks of base classes teach where classes are that have tags only."""

from typing import Any

import torch
from torch import Tensor

from wsss_zoo.contract import BaseMaskBatch, WeakShotBatch, find_data
from wsss_zoo.functional import DistillationKind, class_targets
from wsss_zoo.functional.tensors import resized_labels
from wsss_zoo.methods.options import check_not_negative
from wsss_zoo.methods.proposal_losses import complementary_losses, padded
from wsss_zoo.methods.proposals import ProposalMethod
from wsss_zoo.methods.weak_shot.pair_losses import Pairing, distillation_loss, sim_net_loss
from wsss_zoo.modules import Proposals, SimNet

# Calls whose numbers of pairs balance the similarity network's loss.
_QUEUE = 25


class SimFormer(ProposalMethod):
    """Mask transformer for base classes with masks and novel classes with tags.

    Queries are matched with the base classes of a crop by class and mask, with the novel ones by
    class alone. What queries learn of masks on base classes carries over to novel ones. Besides,

    * the complementary loss asks that the novel masks cover what no base mask covers;
    * a similarity network (`SimNet`) learns from pairs of base pixels of two images whether they
      are of one class, and teaches the scores of the novel classes on pairs of other pixels.

    L = class + mask_weight focal + dice_weight dice + comp_weight complementary, each summed over
    the layers, + pair_weight pairs + distill_weight distillation, on the last layer alone. Image
    and reference take part alike. A weight of 0 switches a loss off. Background is a base class.

    Args:
        comp_weight: Weight of the complementary loss; 0.2 for ADE20K, 0.15 for COCO-Stuff.
        tau: Floor of the union of the novel masks, a logit; -1e4 switches it off.
        pair_weight: Weight of the similarity network's own loss.
        distill_weight: Weight of the distillation; 0.5 for ADE20K, 0.1 for COCO-Stuff.
        distill_kind: "cce", "ce" or "b0.5"; see `similarity_distillation_loss`.
        pairing: Pixels that the distillation compares the scores of: "cross_image", as the paper
            and the teacher have it, or "code", as in the authors' code: both of the same image.
        pair_points: Pixels drawn from each image; of those for the similarity network four fifths
            show a base class that both images have.

    Chen et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer", NeurIPS 2022;
    bcmi/SimFormer-Weak-Shot-Semantic-Segmentation @ 9e32a80. The paper's body was not available to
    us. Differences from the authors' code, besides ``pairing``:

    * A base class that vanishes at stride 4 keeps its own label.
    * The numbers of pairs are in the checkpoint.
    * The reference shares a novel class with every image that can have such a reference.
    * Crops without any class are not drawn again. Images whose mask has no class stay; the authors'
      code leaves out 16 of ADE20K and 7 of COCO-Stuff.
    * Images are validated at their own size, not at a short side of 512 or 640 pixels.
    """

    supervision = "weak_shot"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        comp_weight: float = 0.2,
        tau: float = -2.9444,
        pair_weight: float = 1.0,
        distill_weight: float = 0.5,
        distill_kind: DistillationKind = "cce",
        pairing: Pairing = "cross_image",
        pair_points: int = 100,
        **shared: Any,
    ) -> None:
        check_not_negative(
            comp_weight=comp_weight, pair_weight=pair_weight, distill_weight=distill_weight
        )
        if pair_points < 5:
            raise ValueError(f"pair_points is {pair_points}; give at least 5")
        if distill_weight > 0 and pair_weight <= 0:
            raise ValueError(
                f"distill_weight is {distill_weight} with pair_weight {pair_weight}: the similarity"
                " network would teach without having learnt; give pair_weight a value above 0, or "
                "distill_weight 0"
            )
        super().__init__(num_classes, backbone, **shared)
        self.sim_net = SimNet(self.hparams["channels"]) if pair_weight > 0 else None
        if self.sim_net is not None:
            # The last calls' numbers of positive and negative pairs; the first entry is (1, 1).
            queue = torch.zeros(_QUEUE, 2)
            queue[-1] = 1
            self.register_buffer("pair_queue", queue)
        self.pair_queue: Tensor
        # Which classes have masks: known from the data.
        self.register_buffer("is_base", torch.ones(num_classes).bool(), persistent=False)
        self.is_base: Tensor
        self.start_from(self.hparams["init_from"])

    def setup(self, stage: str) -> None:
        """Ask the data module which classes are novel."""
        super().setup(stage)
        data = find_data(self.trainer)
        if stage == "fit" and data is not None:
            novel = set(data.novel_classes)
            self.is_base = torch.tensor([name not in novel for name in data.class_names])

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count two images: each shares a pass with its reference."""
        return 2, "batch_size"

    def training_step(self, batch: WeakShotBatch, batch_idx: int) -> Tensor:
        """Add the losses of both images of each pair, and those of the pair."""
        both: list[BaseMaskBatch] = [batch, batch["reference"]]
        proposals: Proposals = self.model(torch.cat([side["image"] for side in both]))
        stride = self.model.stride
        mask = padded(torch.cat([side["mask"] for side in both]), proposals, 255, stride)
        valid = padded(torch.cat([side["valid"] for side in both]), proposals, False, stride)
        tags = torch.cat([side["image_labels"] for side in both])
        losses = self._mask_losses(proposals, mask, valid, tags)
        labels = resized_labels(mask, proposals.mask_logits.shape[-2:])
        if self.sim_net is not None:
            inside = resized_labels(valid, labels.shape[-2:])
            losses |= self._pair_losses(self.sim_net, proposals, labels, inside, tags)
        return self.total_loss(losses)

    def _mask_losses(
        self, proposals: Proposals, mask: Tensor, valid: Tensor, tags: Tensor
    ) -> dict[str, Tensor]:
        """Class, mask, dice and complementary loss of N images, each summed over the layers."""
        classes = self.hparams["num_classes"]
        novel = torch.nn.functional.pad(tags, (classes - tags.shape[1], 0))
        losses, matches = self.layer_losses(proposals, mask, class_targets(mask, classes, novel))
        if self.hparams["comp_weight"] > 0:
            losses["comp"] = complementary_losses(
                proposals.mask_logits, matches, mask, valid, self.hparams["tau"], classes
            )
        return losses

    def _pair_losses(
        self, sim_net: SimNet, proposals: Proposals, labels: Tensor, valid: Tensor, tags: Tensor
    ) -> dict[str, Tensor]:
        """Losses of the similarity network and of the distillation, of N images and references."""
        options, points = self.hparams, self.hparams["pair_points"]
        loss, self.pair_queue = sim_net_loss(
            *(sim_net, proposals.pixel_embeddings.detach(), labels, valid),
            *(self.is_base, self.pair_queue, points),
        )
        losses = {"pair": loss}
        if options["distill_weight"] > 0:
            losses["distill"] = distillation_loss(
                *(sim_net, proposals, labels, tags, self.is_base, points),
                *(options["distill_kind"], options["pairing"]),
            )
        return losses
