"""Co-attention pair classifier (MCIS): two images with a class in common explain each other."""

from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType
from torch import Tensor

from wsss_zoo.contract import PairBatch, data_of, find_data
from wsss_zoo.functional import co_attention_loss, exclusive_labels
from wsss_zoo.methods.optimizer import drop_schedule, split_groups
from wsss_zoo.methods.tags.base import TagMethod
from wsss_zoo.methods.tags.localiser import Localiser
from wsss_zoo.methods.tags.references import References
from wsss_zoo.modules import Backbone, PairClassifier, rescale, score

# The authors' code adds the contrastive loss from this epoch on.
_CONTRAST_EPOCH = 2


class CoAttention(TagMethod):
    """Classifier of image pairs, with maps of where each tagged class is.

    Each image of a pair gathers features from the other (co-attention). A class layer finds the
    common classes in them, and the other classes in what is left; see `co_attention_loss`.

    ``maps: single_round`` applies the class layer to the image alone, without its bias, and merges
    over ``scales`` as CAMs are. ``multi_round`` applies it to what the image gathers from each of
    ``references`` images per class. Negative scores are set to 0 (our reading), and the maps of the
    references averaged. The references are drawn once per class from the training list, without
    replacement, from ``reference_seed`` alone, and stand in the manifest of the labels. One more is
    drawn, for images that are references themselves. A class that no other training image has gets
    its single-round map. n images cost n backbone passes and one per reference; K (references + 1)
    maps stay in memory.

    Args:
        backbone: "vgg16" (the paper's, output stride 8) or the name of a timm model.
        weights: Weights of the backbone: null, "imagenet" (timm downloads them) or the path of a
            file.
        output_stride: Stride of the last feature map, in pixels.
        freeze_backbone_bn: Keep the running BatchNorm statistics of the backbone.
        convs: Number of 3x3 convolutions with 512 channels before co-attention; the paper has 3.
        variant: "paper": basic + common + exclusive loss, one class layer. "code": as in the
            authors' code; see below.
        affinity: "raw", as in the paper: products of features of any length; or "cosine": features
            of unit length, the matrix starting at 10 times the identity. With long features, raw
            products make every position look at a single other one, and learn nothing.
        by_domain: Three affinity matrices, for pairs with images of ``extra_roots``.
        maps: "single_round" or "multi_round".
        references: Reference images per class, R.
        reference_seed: Seed of their draw.
        scales: Factors by which the image is resized in prediction (not in the five views).
        predict_size: Side to which images and references are squashed in prediction, pixels (the
            authors' code: 256); null keeps their size. For the five views of ``code`` both are
            rounded to whole multiples of four output strides, so that their grids coincide.
        bias_lr_mult: Factor on both learning rates for biases.
        lr_drop_epochs: Epochs at whose start the learning rate falls to a tenth; null is the
            polynomial schedule.

    Sun, Wang, Dai, Van Gool, "Mining Cross-Image Semantics for Weakly Supervised Semantic
    Segmentation", ECCV 2020; GuoleiSun/MCIS_wsss @ 1fc8f75. ``variant: code`` differs from the
    paper as the authors' code does:

    * A class layer with bias for the images themselves, and one without for co-attention and
      contrast; means in place of sums; contrast from the third epoch on.
    * Three more pairs of each first image with itself (mirror, 0.75x, 2x).
    * Maps average raw scores and merge five views at one scale (`merge_co_attention_views`).

    Differences of this implementation from both:

    * Each of the five views goes through the backbone once. The authors' code makes 8 passes. It
      takes three views from the image before its colour jitter, which a batch no longer holds.
    * Contrast is left out where no image has a class alone. Of several processes each looks at its
      own images.
    * References are the same for all images. The authors' code draws with replacement for each
      image, itself included.
    * Padding takes part in the attention as the mean colour. Maps are merged with their mirror.
    """

    supervision = "pairs"

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
        bias_lr_mult: float = 1.0,
        lr_drop_epochs: list[int] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(num_classes, scales, **shared)
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
        self.localiser = Localiser(self.model, tuple(scales), predict_size, variant == "code")
        self.start_from(self.hparams["init_from"])

    def forward(self, image: Tensor) -> Tensor:
        """Score the classes of an image (N, 3, H, W) alone before the sigmoid: (N, K)."""
        scores: Tensor = self.model(image)
        return scores

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Add the losses of the pair, and in ``code`` of each first image with views of itself."""
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
        logged = {f"loss_{name}": losses[name].detach() for name in ("common", "exclusive")}
        logged |= {"loss": loss.detach(), "exclusive_share": (alone > 0).any(1).float().mean()}
        self.log_dict({f"train/{name}": value for name, value in logged.items()})
        return loss

    def smallest_pass(self, data: Any) -> tuple[int, str]:
        """Count the images of a pass; both of a pair share it, views of one size do not."""
        together = 2 if self.hparams["variant"] == "paper" else 1
        return together * int(getattr(data, "batch_size", 2)), "batch_size"

    @property
    def smallest_view(self) -> float:
        """Side of the smallest view of a crop, in crops."""
        return 1.0 if self.hparams["variant"] == "paper" else 0.75

    def pair_losses(
        self,
        feat_m: Tensor,
        feat_n: Tensor,
        labels_m: Tensor,
        labels_n: Tensor,
        domain_m: Tensor | None = None,
        domain_n: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute `co_attention_loss` of feature maps (N, C, h, w), tags (N, K), domains (N,)."""
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

    def setup(self, stage: str) -> None:
        """Draw the references of multi-round maps from the data module's training list."""
        super().setup(stage)
        if stage == "predict" and self.hparams["maps"] == "multi_round":
            data = data_of(self.trainer, "CoAttention with maps 'multi_round', not 'single_round',")
            labels = data.labels_of(data.tagged_ids(), from_masks=True)
            count, seed = self.hparams["references"], self.hparams["reference_seed"]
            self.localiser.references = References(labels, count, seed)

    def on_predict_start(self) -> None:
        """Compute the references' feature maps, each image once."""
        references = self.localiser.references
        for image_id in references.needed() if references else []:
            pixels = data_of(self.trainer, "CoAttention").read_image(image_id)
            image = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None] / 255
            self.localiser.keep(image_id, image.to(self.dtype))

    def label_settings(self) -> dict[str, Any]:
        """Give the references, for the manifest of the labels."""
        references, data = self.localiser.references, find_data(self.trainer)
        return {"references": references.record(data.fg_names)} if references and data else {}

    def localise(self, image: Tensor, image_labels: Tensor, image_id: str) -> tuple[Tensor, Tensor]:
        """Compute scores (K,) and maps (K, H, W) of an image (1, 3, H, W) with tags (K,)."""
        return self.localiser(image, image_labels, image_id)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group as every method does, with biases apart at ``bias_lr_mult``."""
        groups, factor = super().parameter_groups(), self.hparams["bias_lr_mult"]
        biases = [parameter for parameter in self.parameters() if parameter.ndim == 1]
        return groups if factor == 1 else split_groups(groups, biases, "biases", factor)

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> LRSchedulerConfigType:
        """Make the polynomial schedule, or with ``lr_drop_epochs`` that of the authors' code."""
        epochs = self.hparams["lr_drop_epochs"]
        if epochs is None:
            return super().make_schedule(optimizer)
        return {"scheduler": drop_schedule(optimizer, epochs)}
