"""Leaving Python: exports that are checked, the fused form, what quantization does."""

from keras_paca.deploy.export import Exported, export

__all__ = ["Exported", "export"]
