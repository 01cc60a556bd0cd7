"""One file per family of backbones."""

from keras_paca.backbones.paca_vit import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT

__all__ = ["PaCaBase", "PaCaSmall", "PaCaTiny", "PaCaViT"]
