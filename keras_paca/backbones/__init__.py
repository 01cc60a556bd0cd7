"""One file per family of backbones, and what all families share."""

from keras_paca.backbones.base import Backbone
from keras_paca.backbones.paca_vit import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT
from keras_paca.backbones.variants import variant
from keras_paca.backbones.vittm import ViTTM, ViTTMBase, ViTTMLarge, ViTTMSmall, ViTTMTiny

__all__ = [
    "Backbone",
    "PaCaBase",
    "PaCaSmall",
    "PaCaTiny",
    "PaCaViT",
    "ViTTM",
    "ViTTMBase",
    "ViTTMLarge",
    "ViTTMSmall",
    "ViTTMTiny",
    "variant",
]
