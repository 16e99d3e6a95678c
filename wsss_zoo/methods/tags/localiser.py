"""Localisation maps of one image at a time, from itself or from what it shares with others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional import class_activation_map, merge_co_attention_views, multi_scale_cam
from wsss_zoo.methods.tags.references import References
from wsss_zoo.modules import PairClassifier, rescale, score

# Scales of the pairs of an image with itself in the authors' code.
_SELF_SCALES = (0.75, 2.0)


class Localiser:
    """Maps of the tagged classes of an image; multi-round where there are ``references``.

    Args:
        model: The pair classifier.
        scales: Factors by which the image is resized; each with its mirror.
        size: Side to which images are squashed, pixels; None keeps theirs.
        five_views: Merge multi-round maps as the authors' code does, in place of ``scales``. Images
            and references are then resized to whole cells of all views.
    """

    def __init__(
        self,
        model: PairClassifier,
        scales: tuple[float, ...],
        size: int | None,
        five_views: bool,
    ) -> None:
        self.model, self.scales, self.size = model, scales, size
        self._merges_five = five_views
        #: References of multi-round maps; None for single-round ones.
        self.references: References | None = None

    @property
    def five_views(self) -> bool:
        """Whether maps are merged from five views: single-round ones never are."""
        return self._merges_five and self.references is not None

    def keep(self, image_id: str, image: Tensor) -> None:
        """Compute and keep the features of a reference image (1, 3, H, W) in [0, 1]."""
        assert self.references is not None
        features = self.model.features(self._squashed(image)).float()
        maps = class_activation_map(features, self.model.common.weight.float())
        self.references.kept[image_id] = features, maps

    def __call__(self, image: Tensor, image_labels: Tensor, image_id: str) -> tuple[Tensor, Tensor]:
        """Compute scores (K,) and maps (K, H, W) in [0, 1] of an image with tags (K,)."""
        size, tagged = image.shape[-2:], image_labels.nonzero()[:, 0]
        cam = image.new_zeros(len(image_labels), *size)
        image = self._squashed(image)
        scales = (1.0,) if self.five_views else self.scales
        if len(tagged) == 0:
            return self.model(image)[0], cam
        pairs = {scale: self._pair(rescale(image, scale)) for scale in scales}
        own = pairs[1.0][:1] if 1.0 in pairs else self.model.features(image)
        if self.five_views:
            maps = self._five_views(image, pairs[1.0], tagged, image_id)
        else:
            raw = [self._raw(pair, tagged, image_id) for pair in pairs.values()]
            each = torch.eye(len(tagged), device=image.device, dtype=raw[0].dtype)
            whole, stride = (image.shape[-2], image.shape[-1]), self.model.backbone.strides[-1]
            maps = multi_scale_cam(raw, each, each.sum(0), whole, stride)
        if maps.shape[-2:] != size:
            maps = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
        cam[tagged] = maps.to(cam)
        return score(self.model.own, own)[0], cam

    def _pair(self, view: Tensor) -> Tensor:
        """Feature maps of a view and its mirror, (2, C, h, w), padded before it is mirrored."""
        prepared = self.model.backbone.prepare(view)
        pair = torch.cat([prepared, prepared.flip(-1)])
        features: Tensor = self.model.convs(self.model.backbone.extract(pair)[-1])
        return features

    def _raw(self, features: Tensor, tagged: Tensor, image_id: str) -> Tensor:
        """Raw maps (N, k, h, w) of the tagged classes in views of an image."""
        own = class_activation_map(features, self.model.own.weight[tagged]).float()
        if self.references is None:
            return own
        maps = []
        for place, label in enumerate(tagged.tolist()):
            gathered = self.references.gather(features, self.model.attention, label, image_id)
            maps.append(own[:, place] if gathered is None else self._mean(gathered))
        return torch.stack(maps, 1)

    def _mean(self, gathered: Tensor) -> Tensor:
        """Mean (N, h, w) over references (R, N, h, w)."""
        # Our reading of the paper's mean is that of rectified maps: a reference that scores low
        # everywhere does not cancel what the others show. The authors' code averages raw scores.
        return (gathered if self.five_views else gathered.relu()).mean(0)

    def _five_views(self, image: Tensor, pair: Tensor, tagged: Tensor, image_id: str) -> Tensor:
        """Maps (k, H, W) as in the authors' code, from the image (1, 3, H, W) and its `_pair`."""
        w_p, weight = self.model.attention.affinity(), self.model.common.weight[tagged]
        own, mirror = pair[:1], pair[1:]

        def beside(features: Tensor, other: Tensor, matrix: Tensor) -> Tensor:
            values = class_activation_map(other, weight)
            return self.model.attention.gather(features, other, matrix, values)[0]

        views = [beside(own, mirror, w_p), beside(mirror, own, w_p.mT).flip(-1)]
        for scale in _SELF_SCALES:
            scaled = self.model.features(rescale(image, scale))
            views.append(beside(scaled, own, w_p.mT))
        views.append(self._raw(own, tagged, image_id)[0])
        return merge_co_attention_views(views, (image.shape[-2], image.shape[-1]))

    def _squashed(self, image: Tensor) -> Tensor:
        """An image at the size to work at."""
        height, width = (side if self.size is None else self.size for side in image.shape[-2:])
        if self.five_views:
            # Three quarters of it have to be whole cells too, or the views' grids do not coincide.
            cells = 4 * self.model.backbone.strides[-1]
            height, width = (max(1, round(side / cells)) * cells for side in (height, width))
        size = (height, width)
        if size == image.shape[-2:]:
            return image
        return F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
