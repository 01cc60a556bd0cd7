"""Models that people already have, with a mechanism of the papers in the place of their own."""

from keras_paca.conversions.attentive import attentive
from keras_paca.conversions.castle import castle

__all__ = ["attentive", "castle"]
