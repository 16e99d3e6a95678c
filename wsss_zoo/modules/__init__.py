"""Networks and their parts: plain torch modules based on timm and segmentation_models_pytorch.

Arguments outside the documented ranges raise a ValueError. A ``Raises`` section lists further
errors.
"""

from wsss_zoo.modules.backbones.backbone import Backbone
from wsss_zoo.modules.backbones.plain_vit import token_maps
from wsss_zoo.modules.backbones.weight_files import load_backbone_weights
from wsss_zoo.modules.co_attention import CoAttentionBlock, PairClassifier, score
from wsss_zoo.modules.cpc import RowContext, RowPrediction
from wsss_zoo.modules.decoders.dpt import DPT
from wsss_zoo.modules.decoders.linear_head import LinearHead
from wsss_zoo.modules.decoders.simple_pyramid import SimplePyramid
from wsss_zoo.modules.ensemble import ProbabilityEnsemble
from wsss_zoo.modules.evaluation import Evaluation, rescale
from wsss_zoo.modules.grad_cam_branch import GradCAMBranch, SelfAttentionCAM
from wsss_zoo.modules.mask_transformer import MaskTransformer, Proposals, undecayed
from wsss_zoo.modules.multi_exit import (
    ExitHead,
    MultiExit,
    inner_features,
    mask_of_cells,
    padded_size,
    to_cells,
)
from wsss_zoo.modules.pixel_decoder import PixelDecoder
from wsss_zoo.modules.region_network import Layer, RegionNetwork
from wsss_zoo.modules.segmenter import Architecture, DeepLabV3Plus, LargeFOV, Segmenter, UNet
from wsss_zoo.modules.sim_net import SimNet
from wsss_zoo.modules.transformer_decoder import TransformerDecoder, sine_positions
from wsss_zoo.modules.weight_average import WeightAverage
from wsss_zoo.modules.weights import load_network_weights, read_state_dict

__all__ = ["Architecture", "Backbone", "CoAttentionBlock", "DeepLabV3Plus", "Evaluation"]
__all__ += ["ExitHead", "GradCAMBranch", "LargeFOV", "Layer", "MaskTransformer", "MultiExit"]
__all__ += ["PairClassifier", "PixelDecoder", "ProbabilityEnsemble", "Proposals", "RegionNetwork"]
__all__ += ["RowContext", "RowPrediction", "Segmenter", "SelfAttentionCAM", "SimNet"]
__all__ += ["TransformerDecoder", "UNet", "WeightAverage", "inner_features"]
__all__ += ["load_backbone_weights", "load_network_weights", "mask_of_cells", "padded_size"]
__all__ += ["read_state_dict", "rescale", "score", "sine_positions", "to_cells", "token_maps"]
__all__ += ["DPT", "LinearHead", "SimplePyramid", "undecayed"]
