"""Options of training sets."""

from dataclasses import dataclass
from typing import Literal

from wsss_zoo.contract import Supervision
from wsss_zoo.data.transforms.crops import Crops
from wsss_zoo.data.transforms.joint import Augmentation

# Padding before a method says what the mean colour of its network is.
GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Settings of a data module that decide what its training set is; see `BaseDataModule`.

    ``pad_color`` is RGB in [0, 1]; the method gives it.
    """

    supervision: Supervision
    extra_roots: dict[str, str] | None = None
    unlabeled_split: str | None = None
    pseudo_label_dir: list[str] | str | None = None
    repeat_labeled: bool = False
    graph_dir: str | None = None
    sparse_dir: str | None = None
    crop_size: int
    augmentation: Augmentation
    photometric: Literal["none", "pseudo", "all"] = "none"
    strong_views: int = 1
    unlabeled_batch_size: int = 1
    complete_tags: bool = True
    complete_boxes: bool = True
    complete_sparse: bool = False
    tag_conflicts: Literal["error", "report"] = "error"
    crop_tags: bool = False
    audit: bool = False
    pad_color: tuple[float, float, float] = GREY
    seed: int

    @property
    def crops(self) -> Crops:
        """How training crops are made."""
        red, green, blue = (round(255 * value) for value in self.pad_color)
        return Crops(self.crop_size, self.augmentation, (red, green, blue), self.seed)
