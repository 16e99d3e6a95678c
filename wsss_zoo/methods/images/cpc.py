"""Contrastive predictive coding: an encoder from images alone, for the other methods to start."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.contract import EvaluationBatch, ImagesBatch, find_data
from wsss_zoo.functional import image_patches
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.ranks import gathered
from wsss_zoo.modules import Backbone, RowContext, RowPrediction


class CPC(BaseMethod):
    """Pretext task on unlabelled images: which patch lies some rows below what is known so far?

    Each patch of an overlapping grid is encoded by itself (the backbone's last map, averaged). A
    causal network sums up the rows from the top. One linear map per distance predicts the patches
    further below. InfoNCE tells each from all patches of the batch, those of all processes. Any
    method starts from the encoder by ``weights: <run>/checkpoints/last.ckpt`` with the same
    ``backbone``.

    Args:
        backbone: Name of a timm model: that of the method which is to use it.
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels. The weights fit a method of any
            other; 16 takes four times as long and shows the last kernels no more of a patch of 32.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone; see below. Only
            with pretrained weights.
        patch_size: Side of a patch, pixels.
        patch_stride: Distance between neighbouring patches, pixels.
        skip_rows: Rows right below that are not predicted: with half overlap the next row shows
            what is known already.
        predict_rows: Rows predicted after them, at most: as far as the grid reaches.
        context_blocks: Residual blocks of the context network; each sees one row further up.
        target_dim: Length of the vectors that are compared.
        temperature: Divisor of their inner products.
        val_size: Side, pixels, of the middle of a validation image that is measured; smaller images
            are enlarged. Give what training crops have.

    Raises:
        ValueError: If a number is too small, the images have too few rows of patches, or in
            ``predict``, for which there is nothing.

    Logs the mean loss over the distances, ``infonce_acc``, the share of patches found, and
    ``infonce_chance``, what guessing gives: 1 / (patches compared). In validation each image is a
    batch of its own, so both are higher than in training.

    BatchNorm in train mode mixes the statistics of known patches with those to be predicted: a way
    to solve the task without learning. The papers take networks without it (van den Oord) or with
    layer norm (Hénaff), whose weights would fit no other method of the zoo. With
    ``freeze_backbone_bn`` nothing leaks. Without, patches and negatives share the statistics of
    all patches of a rank's batch, which leaves little to leak. The running statistics then become
    those of small patches, more of which is border than of a whole image.

    Patches of padding are all alike and only blur the measure: keep crops full by the data module's
    ``augmentation.scale_range``.

    van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding",
    arXiv:1807.03748, section 3.3. Context network, vectors of 64 and temperature are from Hénaff et
    al., "Data-Efficient Image Recognition with Contrastive Predictive Coding", ICML 2020. No code
    was released. Differences from the papers:

    * Backbone and size of images.
    * The loss is the mean over distances, not the sum.
    * Crops are changed (``photometric: all``) as a whole, not patch by patch.
    """

    supervision = "images"
    output = "pretext"

    def __init__(
        self,
        backbone: str = "resnet50",
        weights: str | None = None,
        output_stride: int = 32,
        freeze_backbone_bn: bool = False,
        patch_size: int = 32,
        patch_stride: int = 16,
        skip_rows: int = 1,
        predict_rows: int = 3,
        context_blocks: int = 5,
        target_dim: int = 64,
        temperature: float = 10.0,
        val_size: int = 160,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if val_size < patch_size:
            raise ValueError(
                f"val_size is {val_size}, less than patch_size {patch_size}; give the crop size"
            )
        self.backbone = Backbone(backbone, weights, output_stride, freeze_backbone_bn)
        channels = self.backbone.channels[-1]
        self.context = RowContext(channels, blocks=context_blocks)
        self.prediction = RowPrediction(channels, skip_rows, predict_rows, target_dim, temperature)
        self.start_from(self.hparams["init_from"])

    def setup(self, stage: str) -> None:
        """Refuse ``predict``: there are no labels to write."""
        if stage == "predict":
            raise ValueError(
                "CPC trains an encoder and makes no label maps: there is nothing to predict; give "
                "its checkpoint to a segmenter as model.weights"
            )
        crop = getattr(find_data(self.trainer), "crop_size", None)
        size, stride = self.hparams["patch_size"], self.hparams["patch_stride"]
        least = size + (self.hparams["skip_rows"] + 1) * stride
        if stage == "fit" and crop is not None and crop < least:
            raise ValueError(
                f"data.crop_size {crop} has no row of patches to predict after skip_rows "
                f"{self.hparams['skip_rows']}; set data.crop_size to at least {least}, or take "
                "smaller patches or strides"
            )
        super().setup(stage)

    def forward(self, image: Tensor) -> Tensor:
        """Encode the patches of an image (N, 3, H, W) in [0, 1]: (N, D, rows, columns)."""
        size, stride = self.hparams["patch_size"], self.hparams["patch_stride"]
        patches = image_patches(image, size, stride)
        features = self.backbone(patches.flatten(0, 2))[-1].mean((2, 3))
        grid: Tensor = features.unflatten(0, patches.shape[:3]).permute(0, 3, 1, 2)
        return grid

    def training_step(self, batch: ImagesBatch, batch_idx: int) -> Tensor:
        """Compute InfoNCE over all patches of the batch, those of all processes."""
        latents = self(batch["image"])
        loss, accuracy, chance = self._contrast(gathered(latents), gathered(self.context(latents)))
        # Lightning would copy a number to the device, which waits for it.
        chances = torch.full_like(accuracy, chance)
        logged = {"loss": loss.detach(), "infonce_acc": accuracy, "infonce_chance": chances}
        self.log_dict({f"train/{name}": value for name, value in logged.items()})
        return loss

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> dict[str, Tensor]:
        """Measure each image by itself: {"loss", "infonce_acc", "infonce_chance"}, (N,) each."""
        image = _middle(batch["image"], self.hparams["val_size"])
        latents = [self(one[None]) for one in image]
        results = [self._contrast(one, self.context(one)) for one in latents]
        losses, accuracies, chances = zip(*results, strict=True)
        return {
            "loss": torch.stack(losses),
            "infonce_acc": torch.stack(accuracies),
            "infonce_chance": image.new_tensor(chances),
        }

    def _contrast(self, latents: Tensor, context: Tensor) -> tuple[Tensor, Tensor, float]:
        """Loss, accuracy and the accuracy of guessing."""
        loss, accuracy = self.prediction(latents, context)
        return loss, accuracy, latents.shape[1] / latents.numel()


def _middle(image: Tensor, size: int) -> Tensor:
    """The middle (N, 3, size, size) of images (N, 3, H, W), enlarged where they are smaller."""
    short = min(image.shape[-2:])
    if short < size:
        target = [max(size, round(side * size / short)) for side in image.shape[-2:]]
        image = F.interpolate(image, target, mode="bilinear", align_corners=False)
    top, left = ((side - size) // 2 for side in image.shape[-2:])
    return image[..., top : top + size, left : left + size]
