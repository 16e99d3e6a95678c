"""The zoo: one LightningModule per paper."""

from wsss_zoo.methods.base import BaseMethod
from wsss_zoo.methods.cam import CAM
from wsss_zoo.methods.co_attention import CoAttention
from wsss_zoo.methods.cpc import CPC
from wsss_zoo.methods.cps import CPS
from wsss_zoo.methods.fixmatch import FixMatch
from wsss_zoo.methods.gat_corrector import GATCorrector
from wsss_zoo.methods.mask_former import MaskFormer
from wsss_zoo.methods.mean_teacher import MeanTeacher
from wsss_zoo.methods.pi_model import PiModel
from wsss_zoo.methods.proposals import ProposalMethod
from wsss_zoo.methods.pseudoseg import PseudoSeg
from wsss_zoo.methods.segmentation import SegmentationMethod
from wsss_zoo.methods.self_regulation import SelfRegulation
from wsss_zoo.methods.semi import ConsistencyMethod, SemiMethod
from wsss_zoo.methods.sim_former import SimFormer
from wsss_zoo.methods.supervised import Supervised
from wsss_zoo.methods.temporal_ensembling import TemporalEnsembling
from wsss_zoo.methods.unimatch import UniMatch

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
    "Supervised",
    "TemporalEnsembling",
    "UniMatch",
]
