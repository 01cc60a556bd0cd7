"""Leaving Python: exports that are checked, the fused form, what quantization does."""

from keras_paca.deploy.exports import Exported, export
from keras_paca.deploy.fuse import fuse
from keras_paca.deploy.latency import benchmark

__all__ = ["Exported", "benchmark", "export", "fuse"]
