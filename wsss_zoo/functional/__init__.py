"""Functions of tensors or arrays: losses, activation maps and measures.

All raise a ValueError for arguments outside the documented shapes, types and ranges. A ``Raises``
section lists further errors.
"""

from wsss_zoo.files.shapes.outlines import mask_polygons, polygon_mask
from wsss_zoo.files.shapes.run_lengths import decode_brush, decode_rows, encode_brush, encode_rows
from wsss_zoo.functional.cams.calibrated_fusion import calibrated_fusion
from wsss_zoo.functional.cams.cam import (
    cam_to_label,
    class_activation_map,
    classifier_grad_cam,
    grad_cam,
    multi_scale_cam,
)
from wsss_zoo.functional.cams.confident_label import confident_cam_label
from wsss_zoo.functional.cams.saliency_label import saliency_label
from wsss_zoo.functional.cams.threshold import score_separation
from wsss_zoo.functional.co_attention.attention import (
    co_attend,
    co_attention,
    co_attention_affinity,
    contrastive_features,
    merge_co_attention_views,
)
from wsss_zoo.functional.co_attention.loss import co_attention_loss, exclusive_labels
from wsss_zoo.functional.crf.dense_crf import dense_crf
from wsss_zoo.functional.crf.pixel_adaptive import pixel_adaptive_refinement
from wsss_zoo.functional.labeling.coverage import class_needs, image_needs, k_center_greedy
from wsss_zoo.functional.labeling.folds import assign_folds
from wsss_zoo.functional.labeling.learning_curve import LearningCurve, fit_learning_curve
from wsss_zoo.functional.labeling.mask_faults import (
    Fault,
    missing_object,
    sloppy_outline,
    swapped_class,
)
from wsss_zoo.functional.labeling.tag_faults import class_presence, tag_faults
from wsss_zoo.functional.labeling.uncertainty import (
    fit_temperature,
    pixel_entropy,
    pixel_margin,
    scale_probs,
    view_disagreement,
)
from wsss_zoo.functional.losses.boxes import box_projection_loss, color_pair_loss
from wsss_zoo.functional.losses.candidate import absent_class_loss, candidate_cross_entropy
from wsss_zoo.functional.losses.consistency import (
    masked_squared_error,
    sigmoid_rampup,
    softmax_mse_loss,
)
from wsss_zoo.functional.losses.cross_entropy import (
    masked_cross_entropy,
    ohem_cross_entropy,
    partial_cross_entropy,
)
from wsss_zoo.functional.losses.gaussian_mixture import (
    center_responses,
    center_separation,
    class_centers,
    gaussian_mixture_loss,
)
from wsss_zoo.functional.losses.info_nce import info_nce_loss
from wsss_zoo.functional.losses.mask_losses import (
    complementary_loss,
    dice_mask_loss,
    focal_mask_loss,
    summed_complementary_loss,
)
from wsss_zoo.functional.losses.pair_energy import dense_energy_loss, gated_crf_loss
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
from wsss_zoo.functional.losses.token_contrast import token_contrast_loss
from wsss_zoo.functional.losses.tree_energy import tree_energy_loss, tree_filter
from wsss_zoo.functional.measures.boundary import boundary_counts, boundary_f_score
from wsss_zoo.functional.measures.confusion import (
    confusion_matrix,
    harmonic_mean,
    intersection_over_union,
    mean_iou,
)
from wsss_zoo.functional.measures.label_estimate import color_separation, tag_violations
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
from wsss_zoo.functional.regions.segment_vote import segment_vote
from wsss_zoo.functional.regions.superpixels import superpixel_backend, superpixels
from wsss_zoo.functional.sparse.drawing import boxes_to_mask, draw_strokes
from wsss_zoo.functional.sparse.possible import gate_by_possible
from wsss_zoo.functional.sparse.refit import refit_classes
from wsss_zoo.functional.sparse.simulation import (
    simulate_blocks,
    simulate_boxes,
    simulate_points,
    simulate_scribbles,
)
from wsss_zoo.functional.tags import (
    gate_by_tags,
    mask_to_image_labels,
    normalize_tagged,
    reassign_by_tags,
)
from wsss_zoo.functional.views.complementary_dropout import (
    complementary_dropout,
    complementary_factors,
    draw_complementary_factors,
)
from wsss_zoo.functional.views.cutmix import cutmix, draw_cutmix_boxes, draw_cutmix_masks
from wsss_zoo.functional.views.ensemble import cells_to_crop, crop_to_cells, ensemble_update
from wsss_zoo.functional.views.patches import image_patches
from wsss_zoo.functional.views.windows import sliding_windows

__all__ = ["calibrated_fusion", "cam_to_label", "class_activation_map", "classifier_grad_cam"]
__all__ += ["confident_cam_label", "token_contrast_loss"]
__all__ += ["grad_cam", "multi_scale_cam", "saliency_label", "score_separation"]
__all__ += ["co_attend", "co_attention", "co_attention_affinity", "co_attention_loss"]
__all__ += ["contrastive_features", "exclusive_labels", "merge_co_attention_views"]
__all__ += ["dense_crf", "pixel_adaptive_refinement"]
__all__ += ["DistillationKind", "base_pixels", "complementary_loss", "cps_loss", "dice_mask_loss"]
__all__ += ["feature_regulation_loss", "fixmatch_loss", "focal_mask_loss", "gather_points"]
__all__ += ["info_nce_loss", "masked_cross_entropy", "masked_squared_error", "ohem_cross_entropy"]
__all__ += ["pair_balance", "pair_counts", "pair_similarity_loss", "pair_targets", "sample_points"]
__all__ += ["score_similarity", "self_regulation_loss", "shared_class_regions", "sigmoid_rampup"]
__all__ += ["similarity_distillation_loss", "soft_label_loss", "softmax_mse_loss"]
__all__ += ["summed_complementary_loss"]
__all__ += ["absent_class_loss", "box_projection_loss", "candidate_cross_entropy"]
__all__ += ["center_responses", "center_separation", "class_centers", "color_pair_loss"]
__all__ += ["dense_energy_loss", "gated_crf_loss", "gaussian_mixture_loss"]
__all__ += ["partial_cross_entropy", "tree_energy_loss", "tree_filter"]
__all__ += ["boundary_counts", "boundary_f_score", "confusion_matrix", "harmonic_mean"]
__all__ += ["image_reliability", "intersection_over_union", "mean_iou", "small_object_counts"]
__all__ += ["color_separation", "tag_violations"]
__all__ += ["ClassTargets", "assign_proposals", "class_targets", "covered_pixels"]
__all__ += ["match_proposal_batch", "match_proposals", "proposal_costs", "semantic_inference"]
__all__ += ["solve_assignment", "target_masks"]
__all__ += ["DetectionReport", "WriteBack", "clean_pixels", "detection_report", "edge_similarity"]
__all__ += ["kept_edges", "label_loss", "majority", "nearest_clean", "noise_threshold", "paint"]
__all__ += ["pool_regions", "prune_edges", "region_adjacency", "region_loss"]
__all__ += ["seed_missing_classes", "segment_vote", "superpixel_backend", "superpixels"]
__all__ += ["temper", "vote", "vote_counts", "write_back", "youden_threshold"]
__all__ += ["Fault", "LearningCurve", "assign_folds", "class_needs", "class_presence"]
__all__ += ["fit_learning_curve", "fit_temperature", "image_needs", "k_center_greedy"]
__all__ += ["missing_object", "pixel_entropy", "pixel_margin", "scale_probs", "sloppy_outline"]
__all__ += ["swapped_class", "tag_faults", "view_disagreement"]
__all__ += ["boxes_to_mask", "draw_strokes", "simulate_blocks", "simulate_boxes"]
__all__ += ["simulate_points", "simulate_scribbles"]
__all__ += ["gate_by_possible", "refit_classes"]
__all__ += ["gate_by_tags", "mask_to_image_labels", "normalize_tagged", "reassign_by_tags"]
__all__ += ["cells_to_crop", "crop_to_cells", "cutmix", "draw_cutmix_boxes", "draw_cutmix_masks"]
__all__ += ["ensemble_update", "image_patches", "sliding_windows"]
__all__ += ["complementary_dropout", "complementary_factors", "draw_complementary_factors"]
__all__ += ["decode_brush", "decode_rows", "encode_brush", "encode_rows", "mask_polygons"]
__all__ += ["polygon_mask"]
