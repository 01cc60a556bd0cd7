"""The form of models for inference: the twins of layers, and `fuse`, which uses them."""

from keras_paca.inference import backbone, twins
from keras_paca.inference.fuse import can_fuse, fuse

__all__ = ["backbone", "can_fuse", "fuse", "twins"]
