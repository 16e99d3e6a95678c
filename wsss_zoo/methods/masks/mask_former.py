"""MaskFormer: a mask transformer trained on masks, true or pseudo."""

from typing import Any

from torch import Tensor

from wsss_zoo.functional import class_targets
from wsss_zoo.methods.proposal_losses import class_loss, mask_losses, match_layers, padded
from wsss_zoo.methods.proposals import ProposalMethod


class MaskFormer(ProposalMethod):
    """A mask transformer trained on masks or ``pseudo_label_dir``.

    The upper bound and the second stage of weak-shot segmentation, and a segmenter like any other.

    In every layer of the transformer, queries matched with the classes of the crop learn class and
    mask (20 focal + dice), the others "no object". Pixels of 255 belong to no class's mask.

    All options are those of `ProposalMethod`.

    Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic
    Segmentation", NeurIPS 2021, with the loss weights and the clipping of Chen et al. (SimFormer),
    NeurIPS 2022.
    """

    supervision = "mask"

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Class and mask losses of all layers."""
        proposals = self.model(batch["image"])
        mask = padded(batch["mask"], proposals, 255)
        targets = class_targets(mask, self.hparams["num_classes"])
        matches = match_layers(proposals, mask, targets)
        of_class = class_loss(proposals.class_logits, matches, self.hparams["no_object_weight"])
        focal, dice = mask_losses(proposals.mask_logits, matches, mask, targets)
        loss: Tensor = (
            of_class + self.hparams["mask_weight"] * focal + self.hparams["dice_weight"] * dice
        )
        self.log_dict(
            {
                "train/loss": loss.detach(),
                "train/loss_class": of_class.detach(),
                "train/loss_mask": focal.detach(),
                "train/loss_dice": dice.detach(),
            }
        )
        return loss
