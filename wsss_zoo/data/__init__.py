"""Data modules: one batch contract for every data set."""

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
