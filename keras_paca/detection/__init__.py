"""Detection and instance masks: Mask R-CNN around any pyramid backbone, released weights."""

from keras_paca.detection.coco_files import COCODataset, read_coco
from keras_paca.detection.coco_metrics import COCOMetrics, coco_metrics, evaluate_detections
from keras_paca.detection.evaluation import evaluate_coco
from keras_paca.detection.feature_pyramid import FeaturePyramid
from keras_paca.detection.heads import AttentiveBoxHead, BoxHead, MaskHead
from keras_paca.detection.mask_rcnn import MaskRCNN
from keras_paca.detection.paste import paste_masks
from keras_paca.detection.pictures import plot_detections
from keras_paca.detection.predict import detect
from keras_paca.detection.proposals import RegionProposalNetwork
from keras_paca.detection.roi_align import roi_align
from keras_paca.detection.variants import (
    PaCaBaseMaskRCNN,
    PaCaSmallMaskRCNN,
    PaCaTinyMaskRCNN,
    RapidNetBMaskRCNN,
    RapidNetMMaskRCNN,
)
from keras_paca.labels import coco_classes

__all__ = [
    "AttentiveBoxHead",
    "BoxHead",
    "COCODataset",
    "COCOMetrics",
    "FeaturePyramid",
    "MaskHead",
    "MaskRCNN",
    "PaCaBaseMaskRCNN",
    "PaCaSmallMaskRCNN",
    "PaCaTinyMaskRCNN",
    "RapidNetBMaskRCNN",
    "RapidNetMMaskRCNN",
    "RegionProposalNetwork",
    "coco_classes",
    "coco_metrics",
    "detect",
    "evaluate_coco",
    "evaluate_detections",
    "paste_masks",
    "plot_detections",
    "read_coco",
    "roi_align",
]
