"""The zoo: one LightningModule per paper."""

from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.cam import CAM
from wsss_zoo.methods.supervised import Supervised

__all__ = ["CAM", "BaseMethod", "Supervised"]
