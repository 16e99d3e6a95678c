"""Supervision ``image_labels``: images with tags."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsss_zoo.contract import ImageLabelsBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.extra_images import JoinedSource, read_extra_images
from wsss_zoo.data.supervision.images import PlainImages
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import Labels

logger = logging.getLogger(__name__)

# A class of more of the images is seen nearly always: nothing tells it from what is beside it.
_MOST, _FEW_IMAGES = 0.9, 20
COMMON_REMEDY = (
    "a tag that nearly every image has says little about where its class is, so labels are made "
    "without its activation maps if most images have other tags; mark some pixels of it (points or "
    "scribbles), draw masks of some images, or add images without it"
)


@dataclass(eq=False)
class TaggedImages(PlainImages):
    """Image, tags and id; see `PlainImages`."""

    tags: Labels

    def sample(self, image_id: str, rng: np.random.Generator) -> ImageLabelsBatch:
        """Augment one image, with its tags."""
        return {
            "image": super().sample(image_id, rng)["image"],
            "image_labels": torch.from_numpy(self.tags[image_id]).float(),
            "image_id": image_id,
        }


class DomainImages(TaggedImages):
    """Tagged images with ``domain``, () int64: 0 is the data set, 1, 2, ... the extra roots."""

    source: JoinedSource

    def sample(self, image_id: str, rng: np.random.Generator) -> ImageLabelsBatch:
        """Augment one image, with its tags and its domain."""
        domain = torch.tensor(self.source.domain_of(image_id))
        return {**super().sample(image_id, rng), "domain": domain}


def make_tagged_images(images: Catalog, options: TrainingOptions) -> TaggedImages:
    """Check the tagged images, and those of ``extra_roots``; make the training set of them."""
    ids = images.tagged_ids()
    images.check_images(ids, masks=False)
    tags = images.complete_labels(ids)
    names = images.class_names[-len(next(iter(tags.values()))) :] if tags else []
    by_image = {i: [names[k] for k in tags[i].nonzero()[0]] for i in tags}
    common = common_classes(by_image, names)
    if common:
        logger.warning("%s of the training images: %s", ", ".join(common), COMMON_REMEDY)
    crops, strong = options.crops, options.photometric == "all"
    if not options.extra_roots:
        return TaggedImages(ids, images.source, crops, strong, tags)
    source, extra_tags = read_extra_images(images, options.extra_roots, ids)
    return DomainImages([*ids, *extra_tags], source, crops, strong, tags | extra_tags)


def common_classes(tags: Mapping[str, Collection[str]], names: Sequence[str]) -> list[str]:
    """Say which classes more than 90 % of at least 20 images are tagged with: `common_shares`.

    >>> common_classes({str(i): {"shoes", "hat"} if i % 2 else {"shoes"} for i in range(20)},
    ...     ["hat", "shoes"])
    ["'shoes' is in 100 %"]
    """
    counts = {name: sum(name in given for given in tags.values()) for name in names}
    shares = common_shares(counts, len(tags))
    return [f"{name!r} is in {100 * share:.0f} %" for name, share in shares.items()]


def common_shares(counts: Mapping[str, int], images: int) -> dict[str, float]:
    """Find the classes that more than 90 % of at least 20 images are tagged with, and the shares.

    >>> common_shares({"hat": 18, "shoes": 19}, images=20)
    {'shoes': 0.95}
    """
    if images < _FEW_IMAGES:
        return {}
    return {name: n / images for name, n in counts.items() if n / images > _MOST}
