"""Depthwise convolution, with or without a shortcut around it."""

from numbers import Integral
from typing import Any

import keras

from keras_paca import ops
from keras_paca.arguments import check_choice
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import conv_initializer


@keras.saving.register_keras_serializable(package="keras_paca")
class DepthwiseConv2D(BaseLayer):
    """Depthwise convolution: y[p, c] = sum_o kernel[o, c] x[s p + o, c] + bias[c].

    Args:
        kernel_size: int. Side of the square kernel, odd.
        use_bias: bool. Whether to add a bias to each channel.
        shortcut: bool. Whether to add the inputs to the outputs, with a stride of 1.
        strides: int. The stride s, 1 or 2.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, ceil(height / strides), ceil(width / strides), channels). The borders are
        padded with `kernel_size // 2` zeros.

    Raises:
        ValueError: If `kernel_size` is not a positive odd integer, if `strides` is neither 1 nor 2,
            or if there is a shortcut around a stride of 2.

    Example:
    >>> tuple(DepthwiseConv2D(3)(keras.ops.ones((1, 5, 7, 2))).shape)
    (1, 5, 7, 2)
    """

    def __init__(
        self,
        kernel_size: int,
        use_bias: bool = True,
        shortcut: bool = False,
        strides: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                "`kernel_size` must be a positive odd integer. "
                f"Received: kernel_size={kernel_size!r}"
            )
        self.kernel_size = int(kernel_size)
        self.use_bias = use_bias
        self.shortcut = shortcut
        self.strides = check_choice("strides", strides, (1, 2))
        if shortcut and strides != 1:
            raise ValueError(
                f"A shortcut needs a stride of 1. Received: strides={strides}, shortcut={shortcut}"
            )

    def build(self, input_shape: tuple) -> None:
        """Create the kernel (k, k, c, 1) and the bias (c,)."""
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels, 1),
            initializer=conv_initializer(),
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Convolve the map `inputs` (b, h, w, c)."""
        return self.convolve(inputs, shortcut=self.shortcut)

    def convolve(self, inputs: Any, shortcut: bool) -> Any:
        """Convolve a map (b, h, w, c), and add the map to the result if `shortcut`."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        bias = None if self.bias is None else keras.ops.convert_to_tensor(self.bias)
        return ops.depthwise_conv2d(inputs, kernel, bias, shortcut, self.strides)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        if self.strides == 1:
            return input_shape
        batch, height, width, channels = input_shape
        return (batch, ops.halve(height), ops.halve(width), channels)
