"""Supervision ``images``: images alone."""

from dataclasses import dataclass

import numpy as np

from wsss_zoo.contract import ImagesBatch
from wsss_zoo.data.catalog import Catalog
from wsss_zoo.data.supervision.options import TrainingOptions
from wsss_zoo.data.transforms.crops import CroppedImages, load_image
from wsss_zoo.data.transforms.joint import to_float


@dataclass(eq=False)
class PlainImages(CroppedImages):
    """Image (3, S, S) and id; tags and masks are not even looked for.

    ``strong`` says whether the images get photometric changes too.
    """

    strong: bool

    def sample(self, image_id: str, rng: np.random.Generator) -> ImagesBatch:
        """Augment one image."""
        _, image = self.crops.sample(load_image(self.source, image_id), rng)
        if self.strong:
            image = self.crops.photometric(image, rng)
        return {"image": to_float(image), "image_id": image_id}


def make_plain_images(images: Catalog, options: TrainingOptions) -> PlainImages:
    """Check the images of ``train_split`` and make the training set of them."""
    ids = images.train_ids()
    images.check_images(ids, masks=False)
    return PlainImages(ids, images.source, options.crops, options.photometric == "all")
