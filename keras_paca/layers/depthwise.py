"""Depthwise convolution behind one seam, so that each backend can take its fastest form."""

import functools
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.layers.folding import read
from keras_paca.layers.initializers import conv_initializer


def depthwise_conv2d(inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """Convolve each channel by itself: y[p, c] = sum_o kernel[o, c] x[p + o, c] + bias[c].

    Args:
        inputs: map (b, h, w, c).
        kernel: filters (k, k, c, 1), k odd.
        bias: (c,) or `None`.

    Returns:
        The map (b, h, w, c), zero-padded by k // 2 on every side.
    """
    # XLA's depthwise kernel for CPUs is up to thirty times slower than the sum written out,
    # which it fuses into one loop; its gradient, a hundred times.
    if keras.backend.backend() == "torch":
        return _native_for_torch(inputs, kernel, bias)
    if keras.backend.backend() == "jax":
        outputs = _shifted_sum_for_jax()(inputs, kernel)
    else:
        outputs = ops.depthwise_conv(inputs, kernel, padding="same", data_format="channels_last")
    return outputs if bias is None else outputs + bias


def _native_for_torch(inputs: Any, kernel: Any, bias: Any) -> Any:
    from torch.nn import functional

    margin, channels = kernel.shape[0] // 2, kernel.shape[2]
    inputs = inputs.permute(0, 3, 1, 2)  # (b, c, h, w), as it lies in memory
    kernel = kernel.permute(2, 3, 0, 1)  # (c, 1, k, k)
    outputs = functional.conv2d(inputs, kernel, bias, padding=margin, groups=channels)
    return outputs.permute(0, 2, 3, 1)


def _shifted_sum(inputs: Any, kernel: Any) -> Any:
    taps = [tap * kernel[i, j, :, 0] for (i, j), tap in _taps(inputs, kernel.shape[0])]
    return sum(taps[1:], taps[0])


def _taps(inputs: Any, size: int) -> list[tuple[tuple[int, int], Any]]:
    """Return ((row, column) in the kernel, map shifted by it) of a map (b, h, w, c)."""
    height, width = inputs.shape[1:3]
    margin = (size // 2, size // 2)
    padded = ops.pad(inputs, ((0, 0), margin, margin, (0, 0)))
    return [
        ((i, j), padded[:, i : i + height, j : j + width, :])
        for i in range(size)
        for j in range(size)
    ]


@functools.cache
def _shifted_sum_for_jax() -> Callable[[Any, Any], Any]:
    """Return `_shifted_sum` with a gradient of its own, for JAX."""
    import jax

    def forward(inputs: Any, kernel: Any) -> tuple[Any, tuple]:
        return _shifted_sum(inputs, kernel), (inputs, kernel)

    def backward(saved: tuple, gradient: Any) -> tuple[Any, Any]:
        inputs, kernel = saved
        return _shifted_sum(gradient, kernel[::-1, ::-1]), kernel_gradient(inputs, gradient, kernel)

    def kernel_gradient(inputs: Any, gradient: Any, kernel: Any) -> Any:
        """Sum x[p + o, c] g[p, c] over p, for every o at once, image by image."""
        size, dtype = kernel.shape[0], keras.backend.result_type(kernel.dtype, "float32")

        def add_image(total: Any, pair: tuple) -> tuple[Any, None]:
            image, image_gradient = (x[None].astype(dtype) for x in pair)  # (1, h, w, c)
            products = [tap * image_gradient for _, tap in _taps(image, size)]
            zeros = [np.zeros((), dtype)] * len(products)
            sums = jax.lax.reduce(products, zeros, _add_each, (0, 1, 2))  # k k times (c,)
            return total + ops.stack(sums), None

        start = ops.zeros((size * size, inputs.shape[-1]), dtype)
        total, _ = jax.lax.scan(add_image, start, (inputs, gradient))
        return ops.reshape(total, kernel.shape).astype(kernel.dtype)

    function = jax.custom_vjp(_shifted_sum)
    function.defvjp(forward, backward)
    return function


def _add_each(left: Sequence[Any], right: Sequence[Any]) -> list:
    return [a + b for a, b in zip(left, right, strict=True)]


@keras.saving.register_keras_serializable(package="keras_paca")
class DepthwiseConv2D(keras.layers.Layer):
    """Depthwise convolution with stride 1: y[p, c] = sum_o kernel[o, c] x[p + o, c] + bias[c].

    Args:
        kernel_size: side of the square filters, odd.
        use_bias: whether to add a bias per channel.
        shortcut: whether to add the inputs.
        fused: whether the filters hold the shortcut, as `keras_paca.fuse` makes them.

    Input shape: (batch, height, width, channels).
    Output shape: the same; the borders are zero-padded by `kernel_size // 2`.

    Raises:
        ValueError: if `kernel_size` is not a positive odd integer.
    """

    def __init__(
        self,
        kernel_size: int,
        use_bias: bool = True,
        shortcut: bool = False,
        fused: bool = False,
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
        self.fused = fused

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
        kernel = ops.convert_to_tensor(self.kernel)
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        if not self.shortcut or self.fused:
            return depthwise_conv2d(inputs, kernel, bias)
        if keras.backend.backend() == "jax" or self.compute_dtype not in ("float32", "float64"):
            # XLA adds in the same pass; half precision would round the kernel beside a 1.
            return depthwise_conv2d(inputs, kernel, bias) + inputs
        identity = ops.convert_to_tensor(self._identity(), kernel.dtype)  # spares a pass to add
        return depthwise_conv2d(inputs, kernel + identity, bias)

    def _identity(self) -> np.ndarray:
        """Return the filters (k, k, 1, 1) that change nothing."""
        identity = np.zeros((self.kernel_size, self.kernel_size, 1, 1))
        identity[self.kernel_size // 2, self.kernel_size // 2] = 1
        return identity

    def fold(self, source: "DepthwiseConv2D") -> None:
        """Take the weights of an unfused layer."""
        self.kernel.assign(read(source.kernel) + (self._identity() if self.shortcut else 0))
        if self.bias is not None:
            self.bias.assign(read(source.bias))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "shortcut": self.shortcut,
            "fused": self.fused,
        }
