"""Class activation maps: a multi-label classifier whose maps become pseudo-labels."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.contract import ImageLabelsBatch
from wsss_zoo.functional import class_activation_map, grad_cam, multi_scale_cam
from wsss_zoo.methods.tags.base import TagMethod
from wsss_zoo.modules import Backbone, rescale


class CAM(TagMethod):
    """Image classifier from tags, with maps of where each tagged class is.

    Backbone, linear layer without bias, pooling over the positions; multi-label soft margin loss.
    In prediction each scale is one batched pass of [image, mirror]; `multi_scale_cam` merges them.
    Grad-CAM maps are merged likewise. They are multiplied by their number of positions, so that on
    the last feature map they equal the CAM.

    Args:
        backbone: Name of a timm model; with a plain ViT the maps are those of its patch tokens.
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels; the side of a patch for plain
            ViTs, 32 for networks that cannot dilate.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone, as IRN does.
        frozen_stages: Number of feature maps, from the shallow end, up to which nothing is trained;
            IRN's ResNet has 3.
        cam_kind: "cam", or "grad_cam" of ``grad_cam_layer``.
        grad_cam_layer: Module of the backbone, as in its ``named_modules()``; null is the last
            feature map.
        pooling: Score of a class in an image: the "mean" over the positions, or the "max", as ToCo
            (Ru et al., CVPR 2023) has it; for ViTs that are not pretrained it finds much more.

    Raises:
        ValueError: If an option is out of range, or there is no such layer.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, in the form of
    IRN (Ahn et al., CVPR 2019, jiwoon-ahn/irn @ a2ece00); Grad-CAM: Selvaraju et al., ICCV 2017.
    Differences from IRN's code:

    * The image is padded *before* it is mirrored, so that the two maps lie exactly over each other
      at every size.
    * The optimiser is AdamW by default. IRN's SGD has momentum 1e-4 (a bug), and rates of 0.1 and
      1.0.
    """

    supervision = "image_labels"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        weights: str | None = None,
        output_stride: int = 16,
        freeze_backbone_bn: bool = False,
        frozen_stages: int = 0,
        scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0),
        cam_kind: Literal["cam", "grad_cam"] = "cam",
        grad_cam_layer: str | None = None,
        pooling: Literal["mean", "max"] = "mean",
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, scales, **shared)
        if grad_cam_layer is not None and cam_kind != "grad_cam":
            raise ValueError("grad_cam_layer has no effect with cam_kind 'cam'; give 'grad_cam'")
        self.backbone = Backbone(backbone, weights, output_stride, freeze_backbone_bn)
        self.backbone.freeze_stages(frozen_stages)
        self.backbone.check_layer(grad_cam_layer)
        self.classifier = nn.Linear(self.backbone.channels[-1], num_classes - 1, bias=False)
        self.start_from(self.hparams["init_from"])

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of an image (N, 3, H, W) in [0, 1] before the sigmoid: (N, K)."""
        return self._score(self.backbone(image)[-1])

    def training_step(self, batch: ImageLabelsBatch, batch_idx: int) -> Tensor:
        """Average the binary cross-entropy of scores and tags over images and classes."""
        scores, tags = self(batch["image"]).float(), batch["image_labels"].float()
        loss = F.binary_cross_entropy_with_logits(scores, tags)
        self.log("train/loss", loss.detach())
        return loss

    def localise(self, image: Tensor, image_labels: Tensor, image_id: str) -> tuple[Tensor, Tensor]:
        """Compute scores (K,) and maps (K, H, W) of an image (1, 3, H, W) with tags (K,)."""
        height, width = image.shape[-2:]
        tagged = image_labels.nonzero()[:, 0]
        cam = image.new_zeros(len(image_labels), height, width)
        if len(tagged) == 0:
            return self(image)[0], cam
        scores, maps = None, []
        for scale in self.hparams["scales"]:
            prepared = self.backbone.prepare(rescale(image, scale))
            pair = torch.cat([prepared, prepared.flip(-1)])
            if self.hparams["cam_kind"] == "cam":
                features = self.backbone.extract(pair)[-1]
                pair_scores = self._score(features)
            else:
                features, pair_scores = self._grad_cam(pair, tagged)
            maps.append(features)
            if scale == 1:
                scores = pair_scores[0]
        weight = self.classifier.weight[tagged]
        if self.hparams["cam_kind"] == "grad_cam":
            weight = torch.eye(len(tagged), device=image.device)
        present, stride = image_labels[tagged], self.backbone.strides[-1]
        cam[tagged] = multi_scale_cam(maps, weight, present, (height, width), stride).to(cam)
        return self(image)[0] if scores is None else scores, cam

    def _score(self, features: Tensor) -> Tensor:
        if self.hparams["pooling"] == "max":
            return class_activation_map(features, self.classifier.weight).amax((2, 3))
        scores: Tensor = self.classifier(features.mean((2, 3)))
        return scores

    def _grad_cam(self, pair: Tensor, tagged: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (2, k, h, w) of the k tagged classes, times h w, and scores (2, K), of a pair."""
        # Lightning predicts in inference mode, where no graph is recorded; clones made outside of
        # it are ordinary tensors.
        with torch.inference_mode(False), torch.enable_grad():
            layer = self.hparams["grad_cam_layer"]
            activations, features = self.backbone.extract_from(pair.clone(), layer)
            scores = self._score(features)
            maps = [
                grad_cam(activations, torch.autograd.grad(score, activations, retain_graph=True)[0])
                for score in scores[:, tagged.clone()].sum(0)
            ]
            positions = activations.shape[-2] * activations.shape[-1]
            return torch.stack(maps, 1).detach() * positions, scores.detach()
