"""Depthwise convolution behind one seam, so that each backend can take its fastest form."""

from numbers import Integral
from typing import Any

import keras
from keras import ops

from keras_paca.layers.initializers import conv_initializer


def depthwise_conv2d(inputs: Any, kernel: Any) -> Any:
    """Convolve each channel with its own filter: y[p, c] = sum_o kernel[o, c] x[p + o, c].

    Args:
        inputs: map (b, h, w, c).
        kernel: filters (k, k, c, 1), k odd.

    Returns:
        The map (b, h, w, c), zero-padded by k // 2 on every side.
    """
    # XLA's depthwise kernel for CPUs is up to thirty times slower than the sum written out,
    # which it fuses into one loop.
    if keras.backend.backend() == "jax":
        return _shifted_sum(inputs, kernel)
    return ops.depthwise_conv(inputs, kernel, padding="same", data_format="channels_last")


def _shifted_sum(inputs: Any, kernel: Any) -> Any:
    size = kernel.shape[0]
    height, width = inputs.shape[1:3]
    margin = (size // 2, size // 2)
    padded = ops.pad(inputs, ((0, 0), margin, margin, (0, 0)))
    taps = [
        padded[:, i : i + height, j : j + width, :] * kernel[i, j, :, 0]
        for i in range(size)
        for j in range(size)
    ]
    return sum(taps[1:], taps[0])


@keras.saving.register_keras_serializable(package="keras_paca")
class DepthwiseConv2D(keras.layers.Layer):
    """Depthwise convolution with stride 1: y[p, c] = sum_o kernel[o, c] x[p + o, c] + bias[c].

    Args:
        kernel_size: side of the square filters, odd.
        use_bias: whether to add a bias per channel.

    Input shape: (batch, height, width, channels).
    Output shape: the same; the borders are zero-padded by `kernel_size // 2`.

    Raises:
        ValueError: if `kernel_size` is not a positive odd integer.
    """

    def __init__(self, kernel_size: int, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                "`kernel_size` must be a positive odd integer. "
                f"Received: kernel_size={kernel_size!r}"
            )
        self.kernel_size = int(kernel_size)
        self.use_bias = use_bias
        # `compile` would pick XLA by itself, whose depthwise kernel for CPUs costs ten times
        # TensorFlow's own; an explicit `jit_compile=True` still works.
        self.supports_jit = keras.backend.backend() != "tensorflow" or bool(
            keras.distribution.list_devices("gpu")
        )

    def build(self, input_shape: tuple) -> None:
        """Create the filters (k, k, c, 1) and the bias (c,)."""
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
        outputs = depthwise_conv2d(inputs, ops.convert_to_tensor(self.kernel))
        return outputs if self.bias is None else outputs + self.bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
        }
