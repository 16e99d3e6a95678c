"""Data modules: one batch contract for every data set."""

from wsss_zoo.data.ade20k import ADE20K
from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.cityscapes import Cityscapes
from wsss_zoo.data.coco import COCO
from wsss_zoo.data.coco_stuff import COCOStuff10K
from wsss_zoo.data.folder import Folder
from wsss_zoo.data.pascal_context import PascalContext
from wsss_zoo.data.shapes import Shapes
from wsss_zoo.data.transforms import Augmentation
from wsss_zoo.data.voc import VOC2012

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
