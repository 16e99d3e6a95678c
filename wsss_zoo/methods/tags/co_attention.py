"""Co-attention pair classifier (MCIS): two images with a class in common explain each other."""

from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from wsss_zoo.functional import co_attention_loss, exclusive_labels
from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.optimizer import Optimizer, drop_schedule, make_optimizer, split_biases
from wsss_zoo.methods.tags.localiser import Localiser
from wsss_zoo.methods.tags.references import References
from wsss_zoo.modules import Backbone, PairClassifier, rescale, score

# The released code adds the contrastive loss from this epoch on.
_CONTRAST_EPOCH = 2


class CoAttention(BaseMethod):
    """Classifier of image pairs, with maps of where each tagged class is.

    ``variant: paper``: basic + common + exclusive loss (`co_attention_loss`), one class layer.
    ``variant: code``, the released one: a class layer with bias for the images themselves and one
    without for co-attention and contrast; means in place of sums; contrast from the third epoch on;
    three more pairs of each first image with itself (mirror, 0.75x, 2x). Of these five views each
    goes through the backbone once; the released code makes 8 passes, and takes the three from the
    image before its colour jitter, which a batch here no longer holds. Its contrast is left out
    where no image has a class alone; of several processes each looks at its own.

    ``maps`` in prediction:

    * ``single_round``: the class layer on the image alone, without its bias, merged over ``scales``
      as CAMs are.
    * ``multi_round``: the class layer on what the image gathers from each of ``references`` images
      per class, negative scores set to 0 (our reading), averaged; merged likewise. ``code``
      averages raw scores and merges five views at one scale instead
      (`merge_co_attention_views`). The references are drawn once per class from the training list,
      without replacement, from ``reference_seed`` alone, and stand in the manifest of the labels;
      one more is drawn to take the place of one that is the image itself. Their feature maps are
      computed once, so n images cost n backbone passes and one per reference; K (references + 1)
      maps stay in memory. A class that no other training image has gets its single-round map. The
      released code draws with replacement for each image, itself included.

    Args:
        num_classes: Number of classes with background, C = K + 1.
        backbone: "vgg16" (the paper's, output stride 8) or the name of a timm model.
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        convs: Number of 3x3 convolutions with 512 channels before co-attention; the paper has 3.
        variant: "paper" or "code".
        affinity: "raw", as in the paper: products of features of any length; or "cosine": features
            of unit length, the matrix starting at 10 times the identity. Where features are long,
            raw products make every position look at a single other one, and learn nothing.
        by_domain: Three affinity matrices, for pairs with images of ``extra_roots``.
        maps: "single_round" or "multi_round".
        references: Reference images per class, R.
        reference_seed: Seed of their draw.
        scales: Factors by which the image is resized in prediction (not in the five views).
        predict_size: Side to which images and references are squashed in prediction, pixels (the
            released code: 256); null keeps their size. For the five views of ``code`` both are
            rounded to whole multiples of four output strides, so that their grids coincide.
        lr: Learning rate of the backbone.
        head_lr_mult: Factor on it for everything else.
        bias_lr_mult: Factor on both for biases.
        weight_decay: Weight decay of all parameters.
        optimizer: "sgd" (momentum 0.9), "nesterov" (the same with Nesterov's momentum), "adam" or
            "adamw".
        lr_drop_epochs: Epochs at whose start the learning rate falls to a tenth; null is the
            polynomial schedule.
        init_from: Checkpoint of a whole network to start from.

    Raises:
        ValueError: If there is no foreground class, or an option is out of range.

    Sun, Wang, Dai, Van Gool, "Mining Cross-Image Semantics for Weakly Supervised Semantic
    Segmentation", ECCV 2020; GuoleiSun/MCIS_wsss @ 1fc8f75. Different from both: padding takes part
    in the attention as the mean colour; maps are merged with their mirror.
    """

    supervision = "pairs"
    output = "classification"
    needs_background = True

    def __init__(
        self,
        num_classes: int,
        backbone: str = "vgg16",
        weights: str | None = None,
        output_stride: int = 8,
        freeze_backbone_bn: bool = False,
        convs: int = 3,
        variant: Literal["paper", "code"] = "paper",
        affinity: Literal["raw", "cosine"] = "raw",
        by_domain: bool = False,
        maps: Literal["single_round", "multi_round"] = "multi_round",
        references: int = 3,
        reference_seed: int = 0,
        scales: tuple[float, ...] = (1.0,),
        predict_size: int | None = None,
        lr: float = 1e-4,
        head_lr_mult: float = 10.0,
        bias_lr_mult: float = 1.0,
        weight_decay: float = 0.01,
        optimizer: Optimizer = "adamw",
        lr_drop_epochs: list[int] | None = None,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"num_classes is {num_classes}; co-attention needs background and a class: give at "
                "least 2"
            )
        if references < 1:
            raise ValueError(
                f"references is {references}; give at least 1, or set maps to 'single_round'"
            )
        self.model = PairClassifier(
            Backbone(backbone, weights, output_stride, freeze_backbone_bn),
            num_classes - 1,
            convs,
            shared=variant == "paper",
            by_domain=by_domain,
            cosine=affinity == "cosine",
        )
        self.localiser = Localiser(
            self.model, tuple(scales), predict_size, five_views=variant == "code"
        )
        self.start_from(init_from)

    def forward(self, image: Tensor) -> Tensor:
        """Class scores before the sigmoid, (N, K), of an image (N, 3, H, W) in [0, 1] alone."""
        scores: Tensor = self.model(image)
        return scores

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Losses of the pair, and in ``code`` of each first image with views of itself."""
        image, other = batch["image"], batch["other"]
        tags, other_tags = batch["image_labels"], other["image_labels"]
        domain, other_domain = batch.get("domain"), other.get("domain")
        views = [image, other["image"]]
        if self.hparams["variant"] == "code":
            views += [image.flip(-1), rescale(image, 0.75), rescale(image, 2.0)]
        first, second, *rest = self.model.features_of(views)
        losses = self.pair_losses(first, second, tags, other_tags, domain, other_domain)
        if self.hparams["variant"] == "code" and self.current_epoch < _CONTRAST_EPOCH:
            # Not left out: every parameter keeps a gradient, which DDP asks for.
            losses["exclusive"] = 0 * losses["exclusive"]
        loss = losses["basic"] + losses["common"] + losses["exclusive"]
        for view in rest:
            loss = loss + self._self_pair_loss(first, view, tags, domain)
        alone = exclusive_labels(tags, other_tags) + exclusive_labels(other_tags, tags)
        self.log("train/loss", loss.detach())
        self.log("train/loss_common", losses["common"].detach())
        self.log("train/loss_exclusive", losses["exclusive"].detach())
        self.log("train/exclusive_share", (alone > 0).any(1).float().mean())
        return loss

    def pair_losses(
        self,
        feat_m: Tensor,
        feat_n: Tensor,
        labels_m: Tensor,
        labels_n: Tensor,
        domain_m: Tensor | None = None,
        domain_n: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """`co_attention_loss` of feature maps (N, C, h, w), tags (N, K) and domains (N,)."""
        attention, own, common = self.model.attention, self.model.own, self.model.common
        co_m, co_n = attention(feat_m, feat_n, domain_m, domain_n)
        only_m, only_n = attention.contrast(feat_m, co_m), attention.contrast(feat_n, co_n)
        return co_attention_loss(
            (score(own, feat_m), score(own, feat_n)),
            (score(common, co_m), score(common, co_n)),
            (score(common, only_m), score(common, only_n)),
            labels_m,
            labels_n,
            self.hparams["variant"],
        )

    def _self_pair_loss(
        self, feat: Tensor, view: Tensor, tags: Tensor, domain: Tensor | None
    ) -> Tensor:
        """Basic and common loss of images and a view of them; nothing is exclusive there."""
        own, common = self.model.own, self.model.common
        pair = self.model.attention(feat, view, domain, domain)
        basic = score(own, feat), score(own, view)
        shared = score(common, pair[0]), score(common, pair[1])
        # The third scores count 0 whatever they are: no contrast is computed for them.
        return co_attention_loss(basic, shared, shared, tags, tags, "code")["total"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Class scores before the sigmoid of the image alone, {"scores": (N, K)}."""
        return {"scores": self(batch["image"])}

    def setup(self, stage: str) -> None:
        """For multi-round maps, draw the references from the data module's training list."""
        super().setup(stage)
        if stage != "predict" or self.hparams["maps"] == "single_round":
            return
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise ValueError(
                "multi_round takes its references from a data module and there is none; call "
                "trainer.predict(model, datamodule=...) or set maps to 'single_round'"
            )
        labels = data.labels_of(data.tagged_ids(), from_masks=True)
        count, seed = self.hparams["references"], self.hparams["reference_seed"]
        self.localiser.references = References(labels, count, seed)

    def on_predict_start(self) -> None:
        """Compute the references' feature maps, each image once."""
        data: Any = getattr(self.trainer, "datamodule", None)
        references = self.localiser.references
        for image_id in references.needed() if references else []:
            pixels = torch.from_numpy(data.read_image(image_id)).to(self.device)
            image = (pixels.permute(2, 0, 1)[None] / 255).to(self.dtype)
            self.localiser.keep(image_id, image)

    def label_settings(self) -> dict[str, Any]:
        """What the manifest of the labels says besides the writer's options: the references."""
        references, data = self.localiser.references, getattr(self.trainer, "datamodule", None)
        if references is None or data is None:
            return {}
        return {"references": references.record(data.fg_names)}

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """{"scores": (N, K), "cam": (N, K, H, W) in [0, 1]}; the maps of absent classes are 0."""
        if "image_labels" not in batch:
            raise ValueError(
                "CoAttention shows where the tagged classes are; give the images to predict "
                "image_labels"
            )
        triples = zip(batch["image"], batch["image_labels"], batch["image_id"], strict=True)
        results = [self.localiser(image[None], tags, name) for image, tags, name in triples]
        scores, cams = zip(*results, strict=True)
        return {"scores": torch.stack(scores), "cam": torch.stack(cams)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone and the rest, as for every method; biases apart at ``bias_lr_mult``."""
        return split_biases(super().parameter_groups(), self.hparams["bias_lr_mult"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The polynomial schedule, or with ``lr_drop_epochs`` the released code's steps."""
        if self.hparams["lr_drop_epochs"] is None:
            return super().configure_optimizers()
        name, decay = self.hparams["optimizer"], self.hparams["weight_decay"]
        optimizer = make_optimizer(name, self.parameter_groups(), decay)
        return {
            "optimizer": optimizer,
            "lr_scheduler": drop_schedule(optimizer, self.hparams["lr_drop_epochs"]),
        }
