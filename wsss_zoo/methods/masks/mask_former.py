"""MaskFormer: a mask transformer trained on masks, true or pseudo."""

from torch import Tensor

from wsss_zoo.contract import MaskBatch
from wsss_zoo.functional import class_targets
from wsss_zoo.methods.proposal_losses import padded
from wsss_zoo.methods.proposals import ProposalMethod


class MaskFormer(ProposalMethod):
    """A mask transformer trained on masks or ``pseudo_label_dir``.

    It is the upper bound and the second stage of weak-shot segmentation, and a segmenter like any
    other. Its options are those of `ProposalMethod`.

    In every layer of the transformer, queries are matched with the classes of the crop. Matched
    queries learn class and mask (20 focal + dice), the others "no object". Pixels of 255 belong to
    no class's mask.

    Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic
    Segmentation", NeurIPS 2021, with the loss weights and the clipping of Chen et al. (SimFormer),
    NeurIPS 2022.
    """

    supervision = "mask"

    def training_step(self, batch: MaskBatch, batch_idx: int) -> Tensor:
        """Compute the class and mask losses of all layers."""
        proposals = self.model(batch["image"])
        mask = padded(batch["mask"], proposals, 255, self.model.stride)
        targets = class_targets(mask, self.hparams["num_classes"])
        return self.total_loss(self.layer_losses(proposals, mask, targets)[0])
