"""Semantic segmentation: heads, the segmenter around any pyramid backbone, released weights."""

from keras_paca.labels import ade20k_classes, ade20k_palette
from keras_paca.segmentation.evaluation import evaluate_segmenter, find_masks, read_mask
from keras_paca.segmentation.heads import (
    FCNHead,
    MaskTransformerHead,
    PaCaSegmentationHead,
    SegmentationHead,
    SemanticFPNHead,
    UPerHead,
)
from keras_paca.segmentation.metrics import MeanIoU
from keras_paca.segmentation.pictures import (
    head_cluster_maps,
    plot_head_clusters,
    plot_segmentation,
)
from keras_paca.segmentation.predict import segment
from keras_paca.segmentation.segmenter import Segmenter
from keras_paca.segmentation.variants import (
    PaCaBaseSegmenter,
    PaCaSmallSegmenter,
    PaCaTinySegmenter,
    RapidNetBSegmenter,
    RapidNetMSegmenter,
    ViTTMBaseSegmenter,
    ViTTMSmallSegmenter,
)

__all__ = [
    "FCNHead",
    "MaskTransformerHead",
    "MeanIoU",
    "PaCaBaseSegmenter",
    "PaCaSegmentationHead",
    "PaCaSmallSegmenter",
    "PaCaTinySegmenter",
    "RapidNetBSegmenter",
    "RapidNetMSegmenter",
    "SegmentationHead",
    "Segmenter",
    "SemanticFPNHead",
    "UPerHead",
    "ViTTMBaseSegmenter",
    "ViTTMSmallSegmenter",
    "ade20k_classes",
    "ade20k_palette",
    "evaluate_segmenter",
    "find_masks",
    "head_cluster_maps",
    "plot_head_clusters",
    "plot_segmentation",
    "read_mask",
    "segment",
]
