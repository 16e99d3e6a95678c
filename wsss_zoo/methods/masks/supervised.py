"""Plain segmentation from masks, true or pseudo."""

from torch import Tensor

from wsss_zoo.contract import MaskBatch
from wsss_zoo.methods.segmentation import SegmentationMethod


class Supervised(SegmentationMethod):
    """A segmentation network trained by cross-entropy, on masks or ``pseudo_label_dir``.

    Pixels of 255 do not count; a batch without any other pixel has loss 0. All options are those
    of `SegmentationMethod`.
    """

    supervision = "mask"

    def training_step(self, batch: MaskBatch, batch_idx: int) -> Tensor:
        """Compute the cross-entropy with the masks, over all or over the hardest pixels."""
        loss = self.supervised_loss(self(batch["image"]), batch["mask"])
        self.log("train/loss", loss.detach())
        return loss
