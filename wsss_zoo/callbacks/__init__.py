"""Callbacks that measure, draw and write what any method returns."""

from wsss_zoo.callbacks.metrics.classification_metrics import ClassificationMetrics
from wsss_zoo.callbacks.metrics.pretext_metrics import PretextMetrics
from wsss_zoo.callbacks.metrics.segmentation_metrics import SegmentationMetrics
from wsss_zoo.callbacks.prediction_visualizer import PredictionVisualizer
from wsss_zoo.callbacks.regions.graph_writer import GraphWriter
from wsss_zoo.callbacks.regions.noise_detector import NoiseDetector
from wsss_zoo.callbacks.training.compiled_training import CompiledTraining
from wsss_zoo.callbacks.training.finite_loss import FiniteLoss
from wsss_zoo.callbacks.training.kept_classes import KeptClasses
from wsss_zoo.callbacks.training.run_progress import RunProgress
from wsss_zoo.callbacks.training.run_summary import RunSummary
from wsss_zoo.callbacks.training.step_times import StepTimes
from wsss_zoo.callbacks.training.validation_interval import ValidationInterval
from wsss_zoo.callbacks.writers.pseudo_label_writer import PseudoLabelWriter
from wsss_zoo.drawing.pictures import SheetRow, draw_sheet

__all__ = [
    "ClassificationMetrics",
    "CompiledTraining",
    "FiniteLoss",
    "GraphWriter",
    "KeptClasses",
    "NoiseDetector",
    "PredictionVisualizer",
    "PretextMetrics",
    "PseudoLabelWriter",
    "RunProgress",
    "RunSummary",
    "SegmentationMetrics",
    "SheetRow",
    "StepTimes",
    "ValidationInterval",
    "draw_sheet",
]
