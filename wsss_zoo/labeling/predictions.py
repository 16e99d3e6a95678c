"""What a network says of images of a data set: probabilities and the encoder's mean features."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss_zoo.data import BaseDataModule
from wsss_zoo.deploy.load import LoadedSegmenter
from wsss_zoo.files.decoding import UInt8Array
from wsss_zoo.modules import Backbone


class Predicted(NamedTuple):
    """What the network says of an image."""

    image_id: str
    image: UInt8Array  # RGB, (H, W, 3)
    probs: NDArray[np.float32]  # (C, H, W)
    features: NDArray[np.float32]  # mean of the last feature map, (D,)


def predict(
    segmenter: LoadedSegmenter, data: BaseDataModule, image_ids: Iterable[str]
) -> Iterator[Predicted]:
    """Run a segmenter over images of a data set, one by one."""
    method = segmenter.labeler.method
    # Several where an average of the weights predicts, or two networks do.
    backbones = [part for part in method.modules() if isinstance(part, Backbone)]
    if not backbones:
        raise ValueError(
            f"{type(method).__name__} has no backbone of wsss_zoo, whose features tell images "
            "apart; give a run of another method"
        )
    sums: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: list[Tensor]) -> None:
        sums.append(output[-1].float().mean((0, 2, 3)).cpu())

    with ExitStack() as hooks:
        for backbone in backbones:
            hooks.enter_context(backbone.register_forward_hook(keep))
        for image_id in image_ids:
            image = data.read_image(image_id)
            yield Predicted(image_id, image, *_run(segmenter, image, image_id, sums))
            sums.clear()


def _run(
    segmenter: LoadedSegmenter, image: UInt8Array, image_id: str, sums: list[Tensor]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    probs = np.empty((len(segmenter.class_names), *image.shape[:2]), dtype=np.float32)
    with torch.inference_mode():
        for (y0, x0, y1, x1), part in segmenter.labeler.probabilities(image, image_id):
            probs[:, y0:y1, x0:x1] = part.float().cpu().numpy()
    # Of several tiles the mean.
    return probs, torch.stack(sums).mean(0).numpy()
