"""Efficient, interpretable vision backbones for Keras 3 that load the released weights."""

from keras_paca import (
    conversions,
    deploy,
    detection,
    explain,
    inference,
    labels,
    layers,
    preprocessing,
    segmentation,
    train,
    weights,
)
from keras_paca._version import __version__
from keras_paca.backbones import (
    CastlingViT,
    CastlingViTBase,
    CastlingViTSmall,
    CastlingViTTiny,
    PaCaBase,
    PaCaSmall,
    PaCaTiny,
    PaCaViT,
    RapidNet,
    RapidNetB,
    RapidNetM,
    RapidNetS,
    RapidNetTi,
    ViTTM,
    ViTTMBase,
    ViTTMLarge,
    ViTTMSmall,
    ViTTMTiny,
)
from keras_paca.conversions import castle
from keras_paca.deploy import export, quantization_report
from keras_paca.explain import (
    cluster_maps,
    cluster_statistics,
    memory_maps,
    plot_cluster_maps,
    plot_memory_maps,
)
from keras_paca.inference import fuse
from keras_paca.models import create_model, list_models
from keras_paca.preprocessing import decode_predictions, evaluation_transform
from keras_paca.train import finish_castling
from keras_paca.warn import FreshWeightsWarning, KerasPaCaWarning

__all__ = [
    "CastlingViT",
    "CastlingViTBase",
    "CastlingViTSmall",
    "CastlingViTTiny",
    "FreshWeightsWarning",
    "KerasPaCaWarning",
    "PaCaBase",
    "PaCaSmall",
    "PaCaTiny",
    "PaCaViT",
    "RapidNet",
    "RapidNetB",
    "RapidNetM",
    "RapidNetS",
    "RapidNetTi",
    "ViTTM",
    "ViTTMBase",
    "ViTTMLarge",
    "ViTTMSmall",
    "ViTTMTiny",
    "__version__",
    "castle",
    "cluster_maps",
    "cluster_statistics",
    "conversions",
    "create_model",
    "decode_predictions",
    "deploy",
    "detection",
    "evaluation_transform",
    "explain",
    "export",
    "finish_castling",
    "fuse",
    "inference",
    "labels",
    "layers",
    "list_models",
    "memory_maps",
    "plot_cluster_maps",
    "plot_memory_maps",
    "preprocessing",
    "quantization_report",
    "segmentation",
    "train",
    "weights",
]
