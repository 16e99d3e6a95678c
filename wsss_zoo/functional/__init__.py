"""Losses, maps and measures: tensors (or arrays) in, tensors out."""

from wsss_zoo.functional.boundary import boundary_counts, boundary_f_score
from wsss_zoo.functional.cam import cam_to_label, class_activation_map, grad_cam, multi_scale_cam
from wsss_zoo.functional.confusion import confusion_matrix, intersection_over_union, mean_iou
from wsss_zoo.functional.crf import dense_crf
from wsss_zoo.functional.ohem import ohem_cross_entropy
from wsss_zoo.functional.sliding_window import sliding_windows

__all__ = [
    "boundary_counts",
    "boundary_f_score",
    "cam_to_label",
    "class_activation_map",
    "confusion_matrix",
    "dense_crf",
    "grad_cam",
    "intersection_over_union",
    "mean_iou",
    "multi_scale_cam",
    "ohem_cross_entropy",
    "sliding_windows",
]
