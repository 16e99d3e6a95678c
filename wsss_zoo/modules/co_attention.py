"""Co-attention networks: affinity, contrast and a classifier of image pairs."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss_zoo.functional import co_attend, co_attention, contrastive_features
from wsss_zoo.modules.backbones.backbone import Backbone

# Initial scale of W_P for unit features: a position attends to a few similar ones.
_COSINE_SCALE = 10.0


class CoAttentionBlock(nn.Module):
    """Affinity W_P and contrast W_B of a pair of images.

    ``by_domain`` uses three W_P: both images from the data set itself, one from extra data, both
    from extra data. The paper leaves the orientation of the mixed one open. In this implementation
    the data set's own image comes first; the matrix is transposed where it comes second.

    Args:
        channels: Channels C of the feature maps.
        by_domain: Whether W_P depends on the domains of the pair.
        cosine: Compare features at unit length, with W_P initialised to 10 times the identity. The
            features themselves are gathered.

    Sun et al. (MCIS), ECCV 2020. Differences:

    * ``cosine`` is not in the paper, which compares features of any length.
    * The authors' code has one W_P for all data.

    Initial values are those of the authors' framework, uniform in +-1/sqrt(C).
    """

    def __init__(self, channels: int, by_domain: bool = False, cosine: bool = False) -> None:
        super().__init__()
        self.cosine = cosine
        bound = channels**-0.5
        self.w_p = nn.Parameter(torch.empty(3 if by_domain else 1, channels, channels))
        self.w_b = nn.Parameter(torch.empty(1, channels))
        for weight in (self.w_p, self.w_b):
            nn.init.uniform_(weight, -bound, bound)
        if cosine:
            self.w_p.data.copy_(_COSINE_SCALE * torch.eye(channels))

    def forward(
        self,
        feat_m: Tensor,
        feat_n: Tensor,
        domain_m: Tensor | None = None,
        domain_n: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute both images' co-attention features, (N, C, hm, wm) and (N, C, hn, wn), float32.

        Feature maps have these shapes too. Domains (N,) are 0 for the data set itself and above 0
        for extra data; None stands for all 0.
        """
        w_p = self.affinity(domain_m, domain_n)
        if not self.cosine:
            return co_attention(feat_m, feat_n, w_p)
        return self.gather(feat_m, feat_n, w_p), self.gather(feat_n, feat_m, w_p.mT)

    def gather(
        self, feat: Tensor, other: Tensor, w_p: Tensor, values: Tensor | None = None
    ) -> Tensor:
        """Call `co_attend`, on unit features if ``cosine``; by default ``other`` is gathered."""
        if not self.cosine:
            return co_attend(feat, other, w_p, values)
        values = other if values is None else values
        # Half precision is too coarse for the lengths.
        unit, unit_other = (F.normalize(x.float(), dim=1) for x in (feat, other))
        return co_attend(unit, unit_other, w_p, values)

    def affinity(self, domain_m: Tensor | None = None, domain_n: Tensor | None = None) -> Tensor:
        """Select W_P of each pair, (N, C, C), or (C, C) without domains."""
        if len(self.w_p) == 1 or domain_m is None or domain_n is None:
            return self.w_p[0]
        extra_m, extra_n = domain_m > 0, domain_n > 0
        matrix = self.w_p[extra_m.long() + extra_n.long()]
        return torch.where((extra_m & ~extra_n)[:, None, None], matrix.mT, matrix)

    def contrast(self, feat: Tensor, co_feat: Tensor) -> Tensor:
        """Compute what an image has alone, (N, C, h, w); see `contrastive_features`."""
        return contrastive_features(feat, co_feat, self.w_b)


class PairClassifier(nn.Module):
    """Classifier of image pairs: backbone, 3x3 convolutions with ReLU, co-attention, class layers.

    Args:
        backbone: The backbone; its last feature map is used.
        num_fg_classes: Number of foreground classes K.
        convs: Number of 3x3 convolutions with 512 channels, >= 0; 0 uses the feature map unchanged.
        shared: Use one class layer without bias. Otherwise use one with bias for the images
            themselves, and one without for common and exclusive features.
        by_domain: See `CoAttentionBlock`.
        cosine: See `CoAttentionBlock`.

    Sun et al. (MCIS), ECCV 2020: three convolutions on VGG-16 and one class layer. The authors'
    code has two class layers; the initial values are those of that code (normal, variance 2 / (k^2
    channels out), for the convolutions and the first class layer).
    """

    def __init__(
        self,
        backbone: Backbone,
        num_fg_classes: int,
        convs: int = 3,
        shared: bool = True,
        by_domain: bool = False,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        if convs < 0:
            raise ValueError(f"convs is {convs}; give 0 or more 3x3 convolutions")
        self.backbone = backbone
        channels = [backbone.channels[-1], *([512] * convs)]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # these have one
        self.convs = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.attention = CoAttentionBlock(channels[-1], by_domain, cosine)
        #: Class layer of the images' own features.
        self.own = nn.Linear(channels[-1], num_fg_classes, bias=not shared)
        #: Class layer of co-attention and contrastive features.
        self.common = self.own
        if not shared:
            nn.init.kaiming_normal_(self.own.weight, mode="fan_out")
            nn.init.zeros_(self.own.bias)
            self.common = nn.Linear(channels[-1], num_fg_classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Compute class scores (N, K) of single images (N, 3, H, W) in [0, 1]."""
        return score(self.own, self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """Extract the feature maps to compare and classify, (N, C, h, w)."""
        features: Tensor = self.convs(self.backbone(image)[-1])
        return features

    def features_of(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Extract feature maps of several batches (N, 3, H, W); equal sizes share a pass."""
        maps: list[Tensor] = [torch.empty(0)] * len(images)
        for size in dict.fromkeys(image.shape[-2:] for image in images):
            places = [i for i, image in enumerate(images) if image.shape[-2:] == size]
            together = self.features(torch.cat([images[i] for i in places]))
            parts = torch.split(together, [len(images[i]) for i in places])
            for place, part in zip(places, parts, strict=True):
                maps[place] = part
        return maps


def score(layer: nn.Linear, features: Tensor) -> Tensor:
    """Compute class scores (N, K) of feature maps (N, C, h, w): the mean of the class maps."""
    scores: Tensor = layer(features.mean((2, 3)))
    return scores
