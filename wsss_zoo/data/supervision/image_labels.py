"""Supervision ``image_labels``: images with tags."""

from dataclasses import dataclass

import numpy as np
import torch

from wsss_zoo.contract import ImageLabelsBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.extra_images import JoinedSource, read_extra_images
from wsss_zoo.data.supervision.images import PlainImages
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import Labels


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
    crops, strong = options.crops, options.photometric == "all"
    if not options.extra_roots:
        return TaggedImages(ids, images.source, crops, strong, tags)
    source, extra_tags = read_extra_images(images, options.extra_roots, ids)
    return DomainImages([*ids, *extra_tags], source, crops, strong, tags | extra_tags)
