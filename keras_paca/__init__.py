"""Efficient, interpretable vision backbones for Keras 3 that load the released weights."""

from keras_paca import detection, layers, segmentation
from keras_paca._version import __version__
from keras_paca.backbones import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT
from keras_paca.deploy import export, fuse, quantization_report
from keras_paca.explain import cluster_maps, cluster_statistics, plot_cluster_maps
from keras_paca.preprocessing import decode_predictions, evaluation_transform

__all__ = [
    "PaCaBase",
    "PaCaSmall",
    "PaCaTiny",
    "PaCaViT",
    "__version__",
    "cluster_maps",
    "cluster_statistics",
    "decode_predictions",
    "detection",
    "evaluation_transform",
    "export",
    "fuse",
    "layers",
    "plot_cluster_maps",
    "quantization_report",
    "segmentation",
]
