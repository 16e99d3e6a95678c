"""Plain segmentation from masks, true or pseudo."""

from typing import Any, Literal

from torch import Tensor

from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.losses import supervised_loss
from wsss_zoo.methods.optimizer import Optimizer
from wsss_zoo.modules import Architecture, Segmenter


class Supervised(BaseMethod):
    """A segmentation network trained by cross-entropy, on masks or ``pseudo_label_dir``.

    Args:
        num_classes: Number of classes C, background included.
        backbone: Name of a timm model that can dilate.
        architecture: "deeplabv3plus" (Chen et al., "Encoder-Decoder with Atrous Separable
            Convolution for Semantic Image Segmentation", ECCV 2018), "largefov" (Chen et al.,
            "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution,
            and Fully Connected CRFs", TPAMI 2018) or "unet" (Ronneberger et al., "U-Net:
            Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015).
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone; with few small
            crops per batch this decides more than the method does. Only with pretrained weights.
        loss: "ce", or "ohem" over the hardest pixels (Shrivastava et al., CVPR 2016).
        ohem_thresh: Probability of the true class in [0, 1] below which a pixel is hard.
        ohem_min_kept: Number of pixels of a batch to keep at least.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for all other parameters.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        init_from: Checkpoint of a whole network to start from.

    Pixels of 255 do not count; a batch without any other pixel has loss 0.
    """

    supervision = "mask"

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
        lr: float = 1e-4,
        head_lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        optimizer: Optimizer = "adamw",
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if loss not in ("ce", "ohem"):
            raise ValueError(f"loss is {loss!r}; give 'ce' or 'ohem'")
        self.network = Segmenter(
            num_classes, backbone, architecture, weights, output_stride, freeze_backbone_bn
        )
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C, H, W) of an image (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy against the masks, over all or over the hardest pixels."""
        loss = supervised_loss(self, self(batch["image"]), batch["mask"])
        self.log("train/loss", loss.detach())
        return loss
