"""Deployment: checked exports and their metadata, quantization, latency."""

from keras_paca.deploy.exports import Exported, export
from keras_paca.deploy.latency import benchmark
from keras_paca.deploy.litert_operators import float_operators
from keras_paca.deploy.metadata import read_metadata
from keras_paca.deploy.quantization import (
    LayerCost,
    OutputChange,
    QuantizationReport,
    quantization_report,
)
from keras_paca.inference import fuse

__all__ = [
    "Exported",
    "LayerCost",
    "OutputChange",
    "QuantizationReport",
    "benchmark",
    "export",
    "float_operators",
    "fuse",
    "quantization_report",
    "read_metadata",
]
