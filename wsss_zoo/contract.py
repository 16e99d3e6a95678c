"""What the layers hand to each other: batches, data modules and methods.

The table of batches in the documentation is made of these types. N images, C classes with
background, K foreground classes. 255 is the only class index that is ignored. A sample, of which
batches are made, has the same keys without N.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Protocol, TypedDict

from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pytorch_lightning import Trainer

Supervision = Literal[
    "mask", "image_labels", "images", "pairs", "semi", "sparse", "weak_shot", "graphs"
]
#: What the evaluation steps of a method return, and so which metrics apply.
Output = Literal["segmentation", "classification", "pretext"]

#: Gives the ids of the images that a writer has done.
FindDone = Callable[[], set[str]]

Ids = Annotated[Sequence[str], "N ids"]
Image = Annotated[Tensor, "(N, 3, H, W) in [0, 1]"]
Mask = Annotated[Tensor, "(N, H, W) class index"]
Tags = Annotated[Tensor, "(N, K) multi-hot"]


class ImagesBatch(TypedDict):
    """Images alone."""

    image: Image
    image_id: Ids


class ImageLabelsBatch(ImagesBatch):
    """Images with tags."""

    image_labels: Tags
    domain: NotRequired[
        Annotated[Tensor, "(N,) with `extra_roots`: 0 is the data set, 1, 2, .. the roots in order"]
    ]


class MaskBatch(ImagesBatch):
    """Images with masks and tags."""

    mask: Mask
    image_labels: Tags


class PairBatch(ImageLabelsBatch):
    """Images with tags, each with a partner that shares a class."""

    other: Annotated[ImageLabelsBatch, "the partners, an `image_labels` batch"]


class UnlabeledBatch(TypedDict):
    """Weak and strong views of the same crops, V strong ones of each."""

    weak: Image
    strong: Annotated[Tensor, "(N, V, 3, H, W) in [0, 1]"]
    valid: Annotated[Tensor, "(N, H, W) False on padding"]
    strong_valid: Annotated[Tensor, "(N, V, H, W) False on padding and CutOut"]
    geometry: Annotated[Tensor, "(N, 5) where the crop lies; see `Crop.geometry`"]
    image_size: Annotated[Tensor, "(N, 2) height and width of the whole image"]
    image_id: Ids
    image_labels: NotRequired[Annotated[Tensor, "(N, K) multi-hot, where some image has tags"]]
    has_image_labels: NotRequired[Annotated[Tensor, "(N,) which images have tags"]]
    audit_mask: NotRequired[Annotated[Tensor, "(N, H, W) with `audit`: true masks, only to log"]]


class SemiBatch(TypedDict):
    """Images with masks, and images without."""

    labeled: Annotated[MaskBatch, "a `mask` batch"]
    unlabeled: Annotated[UnlabeledBatch, "views of the unlabelled images"]


class SparseBatch(ImagesBatch):
    """Crops with labels of some, all or none of their pixels, V strong views of each.

    Images with a label of a pixel come first. An image without any has a mask of 255.
    """

    mask: Annotated[Tensor, "(N, H, W) class index, 255 where it is not known"]
    valid: Annotated[Tensor, "(N, H, W) False on padding"]
    possible: Annotated[
        Tensor,
        "(N, C, 1, 1) bool, or (N, C, H, W) where some image has boxes: classes that a pixel may "
        "have, by tags, boxes and labels; at least one",
    ]
    image_labels: NotRequired[Annotated[Tensor, "(N, K) multi-hot, where some image has tags"]]
    has_image_labels: NotRequired[Annotated[Tensor, "(N,) which images have tags"]]
    strong: NotRequired[Annotated[Tensor, "(N, V, 3, H, W) in [0, 1], with `strong_views`"]]
    strong_valid: NotRequired[Annotated[Tensor, "(N, V, H, W) False on padding and CutOut"]]
    audit_mask: NotRequired[Annotated[Tensor, "(N, H, W) with `audit`: true masks, only to log"]]


class BaseMaskBatch(MaskBatch):
    """Images with masks of base classes and tags of novel ones."""

    valid: Annotated[Tensor, "(N, H, W) False on padding and CutOut"]


class WeakShotBatch(BaseMaskBatch):
    """Images with masks of base classes and tags of novel ones, each with a reference image."""

    reference: Annotated[BaseMaskBatch, "the reference images, with the same keys"]


class GraphBatch(TypedDict):
    """Region graphs with tags, no images."""

    graph: Annotated[Any, "torch_geometric `Batch` of N region graphs of `graph_dir`"]
    image_id: Ids


class EvaluationBatch(ImagesBatch):
    """Whole images at native size, in validation, test and prediction."""

    mask: NotRequired[Mask]
    image_labels: NotRequired[Tags]
    possible: NotRequired[Annotated[Tensor, "(N, C, H, W) bool, what labels allow; in prediction"]]
    likely: NotRequired[Annotated[Tensor, "``possible``, the middles of boxes certain"]]


class GraphEvaluationBatch(EvaluationBatch):
    """Whole images with their region graphs, in the prediction of `graphs`; see `RegionGraph`."""

    graph: Annotated[Any, "torch_geometric `Batch` of N region graphs"]
    segments: Annotated[Tensor, "(N, H, W) region of each pixel"]
    label: Annotated[Tensor, "(N, H, W) given class index"]
    prediction: Annotated[Tensor, "(N, H, W) class index by the network of the graphs"]
    clean: Annotated[Tensor, "(N, H, W) whether the given label counts as clean"]


#: Batch format of each supervision, and of evaluation.
BATCHES: dict[str, type] = {
    **{"mask": MaskBatch, "image_labels": ImageLabelsBatch, "images": ImagesBatch},
    **{"pairs": PairBatch, "semi": SemiBatch, "sparse": SparseBatch},
    **{"weak_shot": WeakShotBatch, "graphs": GraphBatch},
    "evaluation": EvaluationBatch,
}


class DataModule(Protocol):
    """What methods and callbacks may ask of a data module after its ``setup``.

    `BaseDataModule` has it all. A user's own needs only what the method and callbacks in use ask.
    """

    class_names: list[str]
    fg_names: list[str]
    base_classes: list[str]
    novel_classes: list[str]
    num_classes: int
    background: bool
    strong_views: int
    gates_predictions: bool
    graph_dir: str | None
    graph_channels: int | None
    predict_split: str
    resumed_by: list[FindDone]

    def predict_ids(self) -> list[str]:
        """List the ids that ``predict`` goes over, those that are done included."""

    def tagged_ids(self) -> list[str]:
        """List the training images of the methods that learn from tags."""

    def read_image(self, image_id: str) -> "NDArray[np.uint8]":
        """Read an RGB image, (H, W, 3)."""

    def read_mask(self, image_id: str) -> "NDArray[np.uint8] | None":
        """Read the class index per pixel, (H, W)."""

    def image_labels_of(self, image_id: str) -> "NDArray[np.uint8] | None":
        """Return the tags of an image, (K,), as known since ``setup``."""

    def labels_of(
        self, image_ids: Sequence[str], *, from_masks: bool
    ) -> "dict[str, NDArray[np.uint8]]":
        """Read the tags of images, (K,) each, from tag files or masks."""


class Method(Protocol):
    """What data modules and callbacks may ask of a method; see `BaseMethod`."""

    supervision: Supervision
    output: Output
    image_mean: tuple[float, float, float]


def find_data(trainer: "Trainer | None") -> DataModule | None:
    """Return the data module of a trainer; None where there are bare loaders."""
    data: DataModule | None = getattr(trainer, "datamodule", None)
    return data


def tests_val(trainer: "Trainer | None") -> bool:
    """Tell whether ``test`` measures the validation split, as the data has no other."""
    return bool(getattr(find_data(trainer), "tests_val", False))


def data_of(trainer: "Trainer | None", asker: str) -> DataModule:
    """Return the data module of a trainer, which ``asker`` needs.

    Raises:
        ValueError: If there is none.
    """
    if (data := find_data(trainer)) is None:
        raise ValueError(
            f"{asker} needs a data module, for class names and images; call "
            "trainer.predict(model, datamodule=...)"
        )
    return data


def done_ids(resumed_by: Sequence[FindDone]) -> set[str]:
    """Ask all writers which images they have done; ``predict`` leaves out those of all.

    Call it on all ranks, from `predict_dataloader` on: an answer may depend on the checkpoint and
    is broadcast.
    """
    answers = [find_done() for find_done in resumed_by]
    return set.intersection(*answers) if answers else set()
