"""Data modules: one batch contract for every data set."""

from wsss_zoo.data.base import BaseDataModule
from wsss_zoo.data.folder import Folder
from wsss_zoo.data.shapes import Shapes
from wsss_zoo.data.transforms import Augmentation
from wsss_zoo.data.voc import VOC2012

__all__ = ["VOC2012", "Augmentation", "BaseDataModule", "Folder", "Shapes"]
