"""One file per family of backbones, and what all families share."""

from keras_paca.backbones.base import Backbone
from keras_paca.backbones.paca_vit import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT
from keras_paca.backbones.rapidnet import RapidNet, RapidNetB, RapidNetM, RapidNetS, RapidNetTi
from keras_paca.backbones.variants import variant
from keras_paca.backbones.vittm import ViTTM, ViTTMBase, ViTTMLarge, ViTTMSmall, ViTTMTiny

# isort: split
# The families are listed in the order of their imports.
from keras_paca.backbones.castling_vit import (
    CastlingViT,
    CastlingViTBase,
    CastlingViTSmall,
    CastlingViTTiny,
)

__all__ = [
    "Backbone",
    "CastlingViT",
    "CastlingViTBase",
    "CastlingViTSmall",
    "CastlingViTTiny",
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
    "variant",
]
