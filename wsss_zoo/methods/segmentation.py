"""What the methods with a segmentation network share."""

from abc import ABC, abstractmethod
from typing import Any, Literal

from torch import Tensor

from wsss_zoo.contract import EvaluationBatch
from wsss_zoo.functional import masked_cross_entropy, ohem_cross_entropy
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.ranks import share_of_global_mean
from wsss_zoo.modules import Architecture, Segmenter
from wsss_zoo.modules.evaluation import Forward
from wsss_zoo.modules.label_fit import LabelFit


class SegmentationMethod(BaseMethod, ABC):
    """A segmentation network and its loss on masks.

    A subclass takes ``num_classes``, ``backbone`` and its own options, and hands ``**shared`` to
    ``super().__init__``. Parts that it makes afterwards start from a checkpoint if it calls
    `start_from` again.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model; see `Backbone` for what it gives. "deeplabv3plus" takes
            those that can dilate.
        architecture: "deeplabv3plus" (Chen et al., "Encoder-Decoder with Atrous Separable
            Convolution for Semantic Image Segmentation", ECCV 2018), "largefov" (Chen et al.,
            "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution,
            and Fully Connected CRFs", TPAMI 2018), "unet" (Ronneberger et al., "U-Net:
            Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015), "dpt" (Ranftl
            et al., "Vision Transformers for Dense Prediction", ICCV 2021) or "linear" (DINO's
            probe). Plain ViTs take "dpt", "linear" and "largefov".
        weights: Weights of the backbone: null, "imagenet" (timm downloads those that it has by
            default; for DINOv2 they are of LVD-142M) or the path of a file.
        output_stride: Stride of the last feature map, in pixels; the side of a patch for plain
            ViTs, 32 for networks that cannot dilate.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone. Only with
            pretrained weights. With few small crops per batch this decides more than the method.
        loss: Loss on masks: "ce", or "ohem" over the hardest pixels (Shrivastava et al., CVPR
            2016).
        ohem_thresh: Probability of the true class in [0, 1] below which a pixel is hard.
        ohem_min_kept: Number of pixels of a batch to keep at least.
        freeze_backbone: Train the decoder alone; the backbone keeps its weights, in eval mode.
    """

    core = "network."

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        architecture: Architecture = "deeplabv3plus",
        weights: str | None = None,
        output_stride: int = 16,
        freeze_backbone_bn: bool = False,
        loss: Literal["ce", "ohem"] = "ce",
        ohem_thresh: float = 0.7,
        ohem_min_kept: int = 100_000,
        freeze_backbone: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.network = self.make_network()
        self.start_from(self.hparams["init_from"])

    def make_network(self) -> Segmenter:
        """Make a network from the options, freshly initialised."""
        names = ("num_classes", "backbone", "architecture", "weights", "output_stride")
        options = [self.hparams[name] for name in (*names, "freeze_backbone_bn")]
        network = Segmenter(*options)
        if self.hparams["freeze_backbone"]:
            network.backbone.freeze()
        return network

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.network(image)
        return logits

    def evaluated_network(self) -> Segmenter:
        """Return the network that validates, tests and predicts."""
        return self.network

    def forward_for(self, batch: EvaluationBatch, background: bool) -> Forward:
        """Return the method itself, or its network refit to labels with ``refit_by_labels``."""
        possible = self.evaluation.possible(batch)
        if possible is None or not self.evaluation.refit_by_labels:
            return self
        return LabelFit(self.evaluated_network(), batch.get("likely", possible), background)

    @abstractmethod
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss of a batch, a scalar."""

    def supervised_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Average the cross-entropy over all pixels or over the hardest, as ``loss`` says.

        With "ohem" each process selects its own hardest pixels. Otherwise the mean is that over the
        pixels of all processes.

        Args:
            logits: Scores, (N, C, H, W).
            mask: Class index per pixel, (N, H, W) int64; 255 does not count.

        Returns:
            A scalar.
        """
        if self.hparams["loss"] == "ohem":
            thresh, min_kept = self.hparams["ohem_thresh"], self.hparams["ohem_min_kept"]
            return ohem_cross_entropy(logits, mask, thresh, min_kept)
        return share_of_global_mean(masked_cross_entropy(logits, mask), (mask != 255).sum())
