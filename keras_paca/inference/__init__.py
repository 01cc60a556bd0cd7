"""The form of models for inference: each layer's twin, and `fuse`, which makes models of them."""

from keras_paca.inference import backbone, twins
from keras_paca.inference.fuse import can_fuse, fuse

__all__ = ["backbone", "can_fuse", "fuse", "twins"]
