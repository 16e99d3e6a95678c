"""Data modules: one batch contract for every data set."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsss_zoo.data.base import BaseDataModule
    from wsss_zoo.data.sets.ade20k import ADE20K
    from wsss_zoo.data.sets.cityscapes import Cityscapes
    from wsss_zoo.data.sets.coco import COCO
    from wsss_zoo.data.sets.coco_stuff import COCOStuff10K
    from wsss_zoo.data.sets.folder import Folder
    from wsss_zoo.data.sets.pascal_context import PascalContext
    from wsss_zoo.data.sets.shapes import Shapes
    from wsss_zoo.data.sets.voc import VOC2012
    from wsss_zoo.data.transforms.joint import Augmentation

__all__ = [
    "ADE20K",
    "COCO",
    "VOC2012",
    "Augmentation",
    "BaseDataModule",
    "COCOStuff10K",
    "Cityscapes",
    "Folder",
    "PascalContext",
    "Shapes",
]

# Imported on first use: annotations are read without torch.
_HOMES = {
    "ADE20K": "sets.ade20k",
    "COCO": "sets.coco",
    "VOC2012": "sets.voc",
    "Augmentation": "transforms.joint",
    "BaseDataModule": "base",
    "COCOStuff10K": "sets.coco_stuff",
    "Cityscapes": "sets.cityscapes",
    "Folder": "sets.folder",
    "PascalContext": "sets.pascal_context",
    "Shapes": "sets.shapes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # All of them: the command line lists the subclasses of `BaseDataModule`.
    modules = {key: import_module(f"{__name__}.{home}") for key, home in _HOMES.items()}
    globals().update({key: getattr(module, key) for key, module in modules.items()})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
