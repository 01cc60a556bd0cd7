"""What makes a trained model ready for where it runs."""

from keras_paca.deploy.quantization import (
    LayerCost,
    OutputChange,
    QuantizationReport,
    quantization_report,
)

__all__ = ["LayerCost", "OutputChange", "QuantizationReport", "quantization_report"]
