"""Semantic segmentation from few or weak labels: methods, data modules, callbacks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsss_zoo.callbacks import (
        ClassificationMetrics,
        PredictionVisualizer,
        PretextMetrics,
        PseudoLabelWriter,
        SegmentationMetrics,
    )
    from wsss_zoo.data import (
        ADE20K,
        COCO,
        VOC2012,
        Augmentation,
        BaseDataModule,
        Cityscapes,
        COCOStuff10K,
        Folder,
        PascalContext,
        Shapes,
    )
    from wsss_zoo.methods import (
        CAM,
        CPC,
        CPS,
        BaseMethod,
        CoAttention,
        FixMatch,
        GATCorrector,
        MaskFormer,
        MeanTeacher,
        PiModel,
        PseudoSeg,
        SelfRegulation,
        SimFormer,
        Supervised,
        TemporalEnsembling,
        UniMatch,
    )
    from wsss_zoo.modules.evaluation import Evaluation

__version__ = "0.1.0"

__all__ = [
    "ADE20K",
    "CAM",
    "COCO",
    "CPC",
    "CPS",
    "VOC2012",
    "Augmentation",
    "BaseDataModule",
    "BaseMethod",
    "COCOStuff10K",
    "Cityscapes",
    "ClassificationMetrics",
    "CoAttention",
    "Evaluation",
    "FixMatch",
    "Folder",
    "GATCorrector",
    "MaskFormer",
    "MeanTeacher",
    "PascalContext",
    "PiModel",
    "PredictionVisualizer",
    "PretextMetrics",
    "PseudoLabelWriter",
    "PseudoSeg",
    "SegmentationMetrics",
    "SelfRegulation",
    "Shapes",
    "SimFormer",
    "Supervised",
    "TemporalEnsembling",
    "UniMatch",
]

# Looked up when first used: importing torch takes seconds that `wsss-zoo --help` need not spend.
_HOMES = ("wsss_zoo.methods", "wsss_zoo.data", "wsss_zoo.callbacks", "wsss_zoo.modules.evaluation")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
