"""Models that people already have, with the mechanisms of the papers in place of their own."""

from keras_paca.conversions.castle import castle

__all__ = ["castle"]
