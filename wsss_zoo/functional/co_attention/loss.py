"""The three classification losses of a pair of images under co-attention."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss_zoo.functional.tensors import at_least_float32

Scores = tuple[Tensor, Tensor]
Variant = Literal["paper", "code"]


def exclusive_labels(labels: Tensor, other: Tensor) -> Tensor:
    """Select the tags that an image has and its partner has not, l - l l', (N, K).

    >>> exclusive_labels(torch.tensor([[1, 1, 0]]), torch.tensor([[1, 0, 1]]))
    tensor([[0, 1, 0]])
    """
    return labels - labels * other


def co_attention_loss(
    basic: Scores,
    common: Scores,
    exclusive: Scores,
    labels_m: Tensor,
    labels_n: Tensor,
    variant: Variant,
) -> dict[str, Tensor]:
    """Compute the cross-entropies of a pair's own, common and exclusive classes.

    The targets are the tags of each image (``basic``), their intersection (``common``), and the
    tags that an image has alone (``exclusive``). CE is the binary cross-entropy, averaged over
    images and classes.

    * ``paper``: each key is the sum of the two images' CE.
    * ``code``: ``basic`` and ``common`` are the mean over all 2N rows, half of that sum.
      ``exclusive`` is the sum; a side counts 0 if none of its images has a class alone.

    ``total`` is the plain sum of the three. The authors' code adds ``exclusive`` only from the
    third epoch on; this is left to the caller.

    Args:
        basic: Class scores before the sigmoid of the images' own features, 2 x (N, K).
        common: Scores of their co-attention features.
        exclusive: Scores of their contrastive features.
        labels_m: Tags of the first images, (N, K), 0 or 1.
        labels_n: Tags of the second images, (N, K), 0 or 1.
        variant: "paper" or "code".

    Returns:
        Float32 scalars ``basic``, ``common``, ``exclusive``, ``total`` (float64 for float64
        scores).

    Sun et al. (MCIS), ECCV 2020, eq. (1), (5), (8), (9); GuoleiSun/MCIS_wsss @ 1fc8f75.

    >>> zero = torch.zeros(1, 2), torch.zeros(1, 2)
    >>> tags = torch.tensor([[1.0, 0.0]])
    >>> losses = co_attention_loss(zero, zero, zero, tags, tags, "code")
    >>> [round(losses[name].item(), 4) for name in ("basic", "common", "exclusive", "total")]
    [0.6931, 0.6931, 0.0, 1.3863]
    """
    shapes = {tuple(side.shape) for pair in (basic, common, exclusive) for side in pair}
    shapes |= {tuple(labels_m.shape), tuple(labels_n.shape)}
    if len(shapes) > 1:
        raise ValueError(f"scores and tags have the shapes {sorted(shapes)}; give all as (N, K)")
    if variant not in ("paper", "code"):
        raise ValueError(f"variant is {variant!r}; give 'paper' or 'code'")
    tags_m, tags_n = labels_m.to(torch.float32), labels_n.to(torch.float32)
    alone = exclusive_labels(tags_m, tags_n), exclusive_labels(tags_n, tags_m)
    both = tags_m * tags_n
    own = _cross_entropy(basic[0], tags_m) + _cross_entropy(basic[1], tags_n)
    shared = _cross_entropy(common[0], both) + _cross_entropy(common[1], both)
    only_m, only_n = (_cross_entropy(exclusive[i], alone[i]) for i in (0, 1))
    if variant == "code":
        own, shared = own / 2, shared / 2
        only_m, only_n = only_m * alone[0].any(), only_n * alone[1].any()
    losses = {"basic": own, "common": shared, "exclusive": only_m + only_n}
    return losses | {"total": own + shared + only_m + only_n}


def _cross_entropy(scores: Tensor, tags: Tensor) -> Tensor:
    scores = at_least_float32(scores)
    return F.binary_cross_entropy_with_logits(scores, tags.to(scores.dtype))
