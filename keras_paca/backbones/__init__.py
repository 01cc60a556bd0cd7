"""One file per family of backbones, and what all families share."""

from keras_paca.backbones.base import Backbone
from keras_paca.backbones.paca_vit import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT
from keras_paca.backbones.rapidnet import RapidNet, RapidNetB, RapidNetM, RapidNetS, RapidNetTi
from keras_paca.backbones.variants import variant
from keras_paca.backbones.vittm import ViTTM, ViTTMBase, ViTTMLarge, ViTTMSmall, ViTTMTiny

# isort: split
# Models are listed in the order in which their families are defined: later families come here.
from keras_paca.backbones.castling_vit import (
    CastlingViT,
    CastlingViTBase,
    CastlingViTSmall,
    CastlingViTTiny,
)

# isort: split
from keras_paca.backbones.resnet_an import ResNet50AN, ResNet101AN, ResNetAN

# isort: split
from keras_paca.backbones.densenet_an import DenseNet121AN, DenseNetAN
from keras_paca.backbones.mobilenet_an import MobileNetAN, MobileNetV2AN

__all__ = [
    "Backbone",
    "CastlingViT",
    "CastlingViTBase",
    "CastlingViTSmall",
    "CastlingViTTiny",
    "DenseNet121AN",
    "DenseNetAN",
    "MobileNetAN",
    "MobileNetV2AN",
    "PaCaBase",
    "PaCaSmall",
    "PaCaTiny",
    "PaCaViT",
    "RapidNet",
    "RapidNetB",
    "RapidNetM",
    "RapidNetS",
    "RapidNetTi",
    "ResNet50AN",
    "ResNet101AN",
    "ResNetAN",
    "ViTTM",
    "ViTTMBase",
    "ViTTMLarge",
    "ViTTMSmall",
    "ViTTMTiny",
    "variant",
]
