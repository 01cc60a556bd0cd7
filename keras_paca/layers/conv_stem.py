"""The stem of RapidNet: two convolutions with norms and activations."""

from typing import Any

import keras

from keras_paca.arguments import check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.conv_norm import ConvNorm


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvStem(BaseLayer):
    """Embed an image in a map of a quarter of its sides, by two convolutions of stride 2.

    y = GELU(BN(Conv3x3(GELU(BN(Conv3x3(x)))))), where the first has half the filters.

    Args:
        filters: int. Number of channels of the output, even.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(ceil(height / 2) / 2), ceil(ceil(width / 2) / 2), filters).

    Raises:
        ValueError: If `filters` is not a positive even integer.

    Source: RapidNet (Munir et al., WACV 2025).

    Example:
    >>> tuple(ConvStem(8)(keras.ops.ones((1, 32, 45, 3))).shape)
    (1, 8, 12, 8)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters = check_positive("filters", filters)
        if filters % 2:
            raise ValueError(f"`filters` must be even. Received: filters={filters}")
        self.conv1 = self.make(ConvNorm, "conv1", filters // 2, 3, strides=2, activate=True)
        self.conv2 = self.make(ConvNorm, "conv2", filters, 3, strides=2, activate=True)

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions."""
        self.conv1.build(input_shape)
        self.conv2.build(self.conv1.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Embed the image `inputs` (b, h, w, c)."""
        return self.conv2(self.conv1(inputs, training=training), training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height / 4, width / 4, filters), where each of two halvings rounds up."""
        return self.conv2.compute_output_shape(self.conv1.compute_output_shape(input_shape))
