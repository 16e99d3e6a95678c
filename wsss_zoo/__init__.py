"""Semantic segmentation from few or weak labels: methods, data modules, callbacks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsss_zoo.version import __version__ as __version__

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
    from wsss_zoo.deploy.load import load
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
        Sparse,
        Supervised,
        TemporalEnsembling,
        UniMatch,
        UniMatchV2,
    )
    from wsss_zoo.modules.evaluation import Evaluation
    from wsss_zoo.training.train import train


__all__ = ["ADE20K", "COCO", "VOC2012", "Augmentation", "BaseDataModule", "COCOStuff10K"]
__all__ += ["Cityscapes", "Folder", "PascalContext", "Shapes"]
__all__ += ["CAM", "CPC", "CPS", "BaseMethod", "CoAttention", "FixMatch", "GATCorrector"]
__all__ += ["MaskFormer", "MeanTeacher", "PiModel", "PseudoSeg", "SelfRegulation", "SimFormer"]
__all__ += ["Sparse", "Supervised", "TemporalEnsembling", "UniMatch", "UniMatchV2"]
__all__ += ["ClassificationMetrics", "PredictionVisualizer", "PretextMetrics", "PseudoLabelWriter"]
__all__ += ["Evaluation", "SegmentationMetrics", "load", "train"]

# Imported on first use: `wsss-zoo --help` need not wait seconds for torch.
_HOMES = ("methods", "data", "callbacks", "modules.evaluation", "deploy.load", "training.train")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in (import_module(f"wsss_zoo.{place}") for place in _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"Any", "TYPE_CHECKING", "import_module"})
