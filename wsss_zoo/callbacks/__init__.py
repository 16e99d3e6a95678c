"""Callbacks that measure, draw and write what any method returns."""

from wsss_zoo.callbacks.classification_metrics import ClassificationMetrics
from wsss_zoo.callbacks.compiled_training import CompiledTraining
from wsss_zoo.callbacks.finite_loss import FiniteLoss
from wsss_zoo.callbacks.graph_writer import GraphWriter
from wsss_zoo.callbacks.noise_detector import NoiseDetector
from wsss_zoo.callbacks.pictures import SheetRow, draw_sheet
from wsss_zoo.callbacks.prediction_visualizer import PredictionVisualizer
from wsss_zoo.callbacks.pretext_metrics import PretextMetrics
from wsss_zoo.callbacks.pseudo_label_writer import PseudoLabelWriter
from wsss_zoo.callbacks.segmentation_metrics import SegmentationMetrics

__all__ = [
    "ClassificationMetrics",
    "CompiledTraining",
    "FiniteLoss",
    "GraphWriter",
    "NoiseDetector",
    "PredictionVisualizer",
    "PretextMetrics",
    "PseudoLabelWriter",
    "SegmentationMetrics",
    "SheetRow",
    "draw_sheet",
]
