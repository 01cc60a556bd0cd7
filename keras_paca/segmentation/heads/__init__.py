"""Heads that turn the maps of a backbone into class logits per patch, one file each."""

from keras_paca.segmentation.heads.base import ConvNormReLU, SegmentationHead, head_initializer
from keras_paca.segmentation.heads.fcn import FCNHead
from keras_paca.segmentation.heads.mask_transformer import MaskTransformerHead
from keras_paca.segmentation.heads.paca import PaCaSegmentationHead
from keras_paca.segmentation.heads.semantic_fpn import SemanticFPNHead
from keras_paca.segmentation.heads.upernet import UPerHead

__all__ = [
    "ConvNormReLU",
    "FCNHead",
    "MaskTransformerHead",
    "PaCaSegmentationHead",
    "SegmentationHead",
    "SemanticFPNHead",
    "UPerHead",
    "head_initializer",
]
