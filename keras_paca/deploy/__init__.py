"""Leaving Python: exports that are checked, the fused form, what quantization does."""

from keras_paca.deploy.export import Exported, export
from keras_paca.deploy.fuse import fuse

__all__ = ["Exported", "export", "fuse"]
