"""Functions of tensors or arrays: losses, activation maps and measures."""

from wsss_zoo.functional.cams.calibrated_fusion import calibrated_fusion
from wsss_zoo.functional.cams.cam import (
    cam_to_label,
    class_activation_map,
    classifier_grad_cam,
    grad_cam,
    multi_scale_cam,
)
from wsss_zoo.functional.cams.saliency_label import saliency_label
from wsss_zoo.functional.co_attention.attention import (
    co_attend,
    co_attention,
    co_attention_affinity,
    contrastive_features,
    merge_co_attention_views,
)
from wsss_zoo.functional.co_attention.loss import co_attention_loss, exclusive_labels
from wsss_zoo.functional.crf.dense_crf import dense_crf
from wsss_zoo.functional.losses.consistency import (
    masked_squared_error,
    sigmoid_rampup,
    softmax_mse_loss,
)
from wsss_zoo.functional.losses.cross_entropy import masked_cross_entropy, ohem_cross_entropy
from wsss_zoo.functional.losses.info_nce import info_nce_loss
from wsss_zoo.functional.losses.mask_losses import (
    complementary_loss,
    dice_mask_loss,
    focal_mask_loss,
    summed_complementary_loss,
)
from wsss_zoo.functional.losses.pair_points import (
    gather_points,
    sample_points,
    shared_class_regions,
)
from wsss_zoo.functional.losses.pair_similarity import (
    DistillationKind,
    base_pixels,
    pair_balance,
    pair_counts,
    pair_similarity_loss,
    pair_targets,
    score_similarity,
    similarity_distillation_loss,
)
from wsss_zoo.functional.losses.pseudo_label_loss import cps_loss, fixmatch_loss, soft_label_loss
from wsss_zoo.functional.losses.self_regulation import feature_regulation_loss, self_regulation_loss
from wsss_zoo.functional.measures.boundary import boundary_counts, boundary_f_score
from wsss_zoo.functional.measures.confusion import (
    confusion_matrix,
    harmonic_mean,
    intersection_over_union,
    mean_iou,
)
from wsss_zoo.functional.measures.reliability import image_reliability
from wsss_zoo.functional.measures.small_objects import small_object_counts
from wsss_zoo.functional.proposals.class_targets import (
    ClassTargets,
    class_targets,
    covered_pixels,
    target_masks,
)
from wsss_zoo.functional.proposals.mask_matching import (
    assign_proposals,
    match_proposal_batch,
    match_proposals,
    proposal_costs,
    solve_assignment,
)
from wsss_zoo.functional.proposals.semantic_inference import semantic_inference
from wsss_zoo.functional.regions.correction import (
    WriteBack,
    nearest_clean,
    region_loss,
    seed_missing_classes,
    temper,
    write_back,
)
from wsss_zoo.functional.regions.label_noise import (
    DetectionReport,
    clean_pixels,
    detection_report,
    label_loss,
    noise_threshold,
    youden_threshold,
)
from wsss_zoo.functional.regions.pooling import majority, paint, pool_regions, vote, vote_counts
from wsss_zoo.functional.regions.region_graph import (
    edge_similarity,
    kept_edges,
    prune_edges,
    region_adjacency,
)
from wsss_zoo.functional.regions.superpixels import superpixel_backend, superpixels
from wsss_zoo.functional.tags import gate_by_tags, mask_to_image_labels
from wsss_zoo.functional.views.cutmix import cutmix, draw_cutmix_boxes, draw_cutmix_masks
from wsss_zoo.functional.views.ensemble import cells_to_crop, crop_to_cells, ensemble_update
from wsss_zoo.functional.views.patches import image_patches
from wsss_zoo.functional.views.sliding_window import sliding_windows

__all__ = [
    "ClassTargets",
    "DetectionReport",
    "DistillationKind",
    "WriteBack",
    "assign_proposals",
    "base_pixels",
    "boundary_counts",
    "boundary_f_score",
    "calibrated_fusion",
    "cam_to_label",
    "cells_to_crop",
    "class_activation_map",
    "class_targets",
    "classifier_grad_cam",
    "clean_pixels",
    "co_attend",
    "co_attention",
    "co_attention_affinity",
    "co_attention_loss",
    "complementary_loss",
    "confusion_matrix",
    "contrastive_features",
    "covered_pixels",
    "cps_loss",
    "crop_to_cells",
    "cutmix",
    "dense_crf",
    "detection_report",
    "dice_mask_loss",
    "draw_cutmix_boxes",
    "draw_cutmix_masks",
    "edge_similarity",
    "ensemble_update",
    "exclusive_labels",
    "feature_regulation_loss",
    "fixmatch_loss",
    "focal_mask_loss",
    "gate_by_tags",
    "gather_points",
    "grad_cam",
    "harmonic_mean",
    "image_patches",
    "image_reliability",
    "info_nce_loss",
    "intersection_over_union",
    "kept_edges",
    "label_loss",
    "majority",
    "mask_to_image_labels",
    "masked_cross_entropy",
    "masked_squared_error",
    "match_proposal_batch",
    "match_proposals",
    "mean_iou",
    "merge_co_attention_views",
    "multi_scale_cam",
    "nearest_clean",
    "noise_threshold",
    "ohem_cross_entropy",
    "paint",
    "pair_balance",
    "pair_counts",
    "pair_similarity_loss",
    "pair_targets",
    "pool_regions",
    "proposal_costs",
    "prune_edges",
    "region_adjacency",
    "region_loss",
    "saliency_label",
    "sample_points",
    "score_similarity",
    "seed_missing_classes",
    "self_regulation_loss",
    "semantic_inference",
    "shared_class_regions",
    "sigmoid_rampup",
    "similarity_distillation_loss",
    "sliding_windows",
    "small_object_counts",
    "soft_label_loss",
    "softmax_mse_loss",
    "solve_assignment",
    "summed_complementary_loss",
    "superpixel_backend",
    "superpixels",
    "target_masks",
    "temper",
    "vote",
    "vote_counts",
    "write_back",
    "youden_threshold",
]
