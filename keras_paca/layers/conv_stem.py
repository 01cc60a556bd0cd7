"""Stems: that of RapidNet, of two convolutions, and those of ResNet and MobileNetV2, of one."""

from typing import Any

import keras

from keras_paca.arguments import check_boolean, check_choice, check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.conv_norm import ConvNorm
from keras_paca.layers.embedding import pad_borders
from keras_paca.ops import halve


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


@keras.saving.register_keras_serializable(package="keras_paca")
class PlainStem(BaseLayer):
    """Embed an image in a map by one convolution of stride 2, and pool it by 2 more if asked.

    y = MaxPool3x3(act(BN(Conv(x)))), where both have a stride of 2 and pad on both sides alike. The
    activation is zero or more, so that borders of zeros don't change the maximum.

    Args:
        filters: int. Number of channels of the output.
        kernel_size: int. Side of the convolution's kernel, 3 or 7.
        pool: bool. Whether the map is pooled.
        activation: str. "relu" or "relu6".
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / 2), ceil(width / 2), filters); with the pooling, its sides
        are halved once more and rounded up.

    Raises:
        ValueError: If an argument has another value.

    Source: ResNet (He et al., CVPR 2016) and, with a 3 x 3 kernel and without the pooling,
    MobileNetV2 (Sandler et al., CVPR 2018).

    Example:
    >>> tuple(PlainStem(8)(keras.ops.ones((1, 32, 45, 3))).shape)
    (1, 8, 12, 8)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 7,
        pool: bool = True,
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_positive("filters", filters)
        self.kernel_size = check_choice("kernel_size", kernel_size, (3, 7))
        self.pool = check_boolean("pool", pool)
        self.activation = check_choice("activation", activation, ("relu", "relu6"))
        options = {"activate": True, "activation": activation, "use_bias": False, "fan": "out"}
        self.conv = self.make(ConvNorm, "conv", filters, kernel_size, strides=2, **options)

    def build(self, input_shape: tuple) -> None:
        """Build the convolution."""
        self.conv.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Embed the image `inputs` (b, h, w, c)."""
        x = self.conv(inputs, training=training)
        if not self.pool:
            return x
        return keras.ops.max_pool(pad_borders(x), 3, 2, "valid", "channels_last")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        batch, height, width, channels = self.conv.compute_output_shape(input_shape)
        if self.pool:
            height, width = halve(height), halve(width)
        return (batch, height, width, channels)
