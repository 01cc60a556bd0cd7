"""The feed-forward network that begins with a large depthwise convolution."""

from typing import Any

import keras

from keras_paca.arguments import check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.conv_norm import ConvNorm, DepthwiseNorm


@keras.saving.register_keras_serializable(package="keras_paca")
class LargeKernelFFN(BaseLayer):
    """Feed-forward network: y = BN(W2 GELU(BN(W1 BN(DWConv7x7(x))))).

    The depthwise convolution has no bias, the projections have one.

    Args:
        expansion: int. Width of the hidden layer, as a multiple of the channels.
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Raises:
        ValueError: If `expansion` is not a positive integer, or if `kernel_size` is not a positive
            odd integer.

    Source: RapidNet (Munir et al., WACV 2025), after FastViT (Vasu et al., ICCV 2023).

    Example:
    >>> tuple(LargeKernelFFN()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(self, expansion: int = 4, kernel_size: int = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.expansion = check_positive("expansion", expansion)
        self.kernel_size = kernel_size
        self.depthwise = self.make(DepthwiseNorm, "depthwise", kernel_size, use_bias=False)

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the projections."""
        channels = input_shape[-1]
        hidden_shape = (*input_shape[:-1], self.expansion * channels)
        self.depthwise.build(input_shape)
        self.expand = self.make(ConvNorm, "expand", hidden_shape[-1], activate=True)
        self.expand.build(input_shape)
        self.project = self.make(ConvNorm, "project", channels)
        self.project.build(hidden_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the network to the map `inputs` (b, h, w, c)."""
        x = self.depthwise(inputs, training=training)
        x = self.expand(x, training=training)
        return self.project(x, training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape
