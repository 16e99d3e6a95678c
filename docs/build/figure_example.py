"""Make the example of the figures: generated images, and predictions of two trained networks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo import CAM, Augmentation, Shapes, Supervised
from wsss_zoo.drawing import color_label
from wsss_zoo.functional import mask_to_image_labels

# Images of the training split that show something, and the seed of their views.
FIRST, SECOND, LABELED, SEED = "train_000003", "train_000002", "train_000000", 8

Picture = NDArray[np.uint8]
_CHECKPOINT = "checkpoints/last.ckpt"


@dataclass(frozen=True)
class Example:
    """Two unlabelled images, a labelled one, and two networks.

    Args:
        weak: Weak views, (2, 3, S, S).
        strong: Two strong views of each, (2, 2, 3, S, S).
        image: Labelled image, (1, 3, S, S).
        mask: Its mask, (1, S, S).
        tags: Of the first unlabelled image, (1, K).
        segmenter: A trained `Supervised`.
        cam: A trained `CAM`.
    """

    weak: Tensor
    strong: Tensor
    image: Tensor
    mask: Tensor
    tags: Tensor
    segmenter: Supervised
    cam: CAM

    def labels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict confidence and class index per pixel, each (N, S, S)."""
        with torch.no_grad():
            confidence, label = self.segmenter(image).softmax(1).max(1)
        return confidence, label

    def maps(self) -> Tensor:
        """Compute class activation maps of the first unlabelled image, (1, K, S, S)."""
        batch = {"image": self.weak[:1], "image_labels": self.tags, "image_id": ["first"]}
        with torch.no_grad():
            maps: Tensor = self.cam.predict_step(batch, 0)["cam"]
        return maps


def make_example(run: Path | None) -> Example:
    """Make images and networks. Without a finished demo, the networks are not trained."""
    if run is None:
        torch.manual_seed(0)
        segmenter, cam = Supervised(7, backbone="test_resnet"), CAM(7, backbone="test_resnet")
    else:
        segmenter, cam = (
            kind.load_from_checkpoint(run / step / _CHECKPOINT, map_location="cpu")
            for kind, step in ((Supervised, "segmenter"), (CAM, "cam"))
        )
    data = Shapes(
        supervision="semi",
        labeled_split=0.1,
        crop_size=128,
        strong_views=2,
        num_workers=0,
        augmentation=Augmentation(
            scale_range=(1.0, 1.0), flip_prob=0.0, jitter_prob=1.0, grey_prob=0.0, cutout_prob=0.0
        ),
        seed=SEED,
    )
    data.setup("fit")
    images = data.train_dataloader().iterables["unlabeled"].dataset
    views = [images[images.ids.index(name)] for name in (FIRST, SECOND)]
    image = torch.from_numpy(data.read_image(LABELED)).permute(2, 0, 1)[None] / 255
    return Example(
        weak=torch.stack([view["weak"] for view in views]),
        strong=torch.stack([view["strong"] for view in views]),
        image=image,
        mask=torch.from_numpy(data.read_mask(LABELED))[None].long(),
        tags=mask_to_image_labels(torch.from_numpy(data.read_mask(FIRST))[None].long(), 7),
        segmenter=segmenter.eval(),
        cam=cam.eval(),
    )


def photo(image: Tensor) -> Picture:
    """Convert an image (3, S, S) in [0, 1] to an RGB picture (S, S, 3)."""
    return (255 * image).round().byte().permute(1, 2, 0).numpy()


def colored(label: Tensor, kept: Tensor | None = None) -> Picture:
    """Colour a label map (S, S); hatch pixels that are not kept."""
    if kept is not None:
        label = torch.where(kept, label, 255)
    return color_label(label.byte().numpy())
