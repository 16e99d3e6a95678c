"""The zoo: one LightningModule per paper."""

from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.graphs.gat_corrector import GATCorrector
from wsss_zoo.methods.images.cpc import CPC
from wsss_zoo.methods.masks.mask_former import MaskFormer
from wsss_zoo.methods.masks.self_regulation import SelfRegulation
from wsss_zoo.methods.masks.supervised import Supervised
from wsss_zoo.methods.proposals import ProposalMethod
from wsss_zoo.methods.segmentation import SegmentationMethod
from wsss_zoo.methods.semi.base import ConsistencyMethod, SemiMethod
from wsss_zoo.methods.semi.cps import CPS
from wsss_zoo.methods.semi.fixmatch import FixMatch
from wsss_zoo.methods.semi.mean_teacher import MeanTeacher
from wsss_zoo.methods.semi.pi_model import PiModel
from wsss_zoo.methods.semi.pseudoseg import PseudoSeg
from wsss_zoo.methods.semi.temporal_ensembling import TemporalEnsembling
from wsss_zoo.methods.semi.unimatch import UniMatch
from wsss_zoo.methods.semi.unimatch_v2 import UniMatchV2
from wsss_zoo.methods.sparse.sparse import Sparse
from wsss_zoo.methods.tags.cam import CAM
from wsss_zoo.methods.tags.co_attention import CoAttention
from wsss_zoo.methods.weak_shot.sim_former import SimFormer

__all__ = [
    "CAM",
    "CPC",
    "CPS",
    "BaseMethod",
    "CoAttention",
    "ConsistencyMethod",
    "FixMatch",
    "GATCorrector",
    "MaskFormer",
    "MeanTeacher",
    "PiModel",
    "ProposalMethod",
    "PseudoSeg",
    "SegmentationMethod",
    "SelfRegulation",
    "SemiMethod",
    "SimFormer",
    "Sparse",
    "Supervised",
    "TemporalEnsembling",
    "UniMatch",
    "UniMatchV2",
]
