"""Depthwise convolution.

| backend    | form                                                   |
| ---------- | ------------------------------------------------------ |
| TensorFlow | `keras.ops.depthwise_conv`                             |
| JAX        | a sum of shifted products, with a gradient of our own  |
| PyTorch    | a grouped convolution that includes the bias           |

Measured by `python benchmarks/ops.py depthwise` on two CPU cores, for a 7 x 7 kernel and maps of
(8, 56, 56, 96) in float32, in ms for the outputs / with the gradients:

| form                                         | TensorFlow | JAX       | PyTorch    |
| -------------------------------------------- | ---------- | --------- | ---------- |
| `keras.ops.depthwise_conv`                   | 2.7 / 21   | 150 / 881 | 5.5 / 23   |
| a sum of shifted products                    | 80 / 772   | 6.7 / 159 |            |
| a sum of shifted products, our own gradient  |            | 10 / 53   |            |
| a grouped convolution that includes the bias |            |           | 1.8 / 21   |

With a stride of 2, TensorFlow pads the borders first, because its own padding of even sides is
another one, and JAX keeps every second row and column of the sum, which XLA then computes alone.

A shortcut, where the inputs are added to the outputs, has two forms:

| backend             | dtype             | form                            |
| ------------------- | ----------------- | ------------------------------- |
| TensorFlow, PyTorch | float32, float64  | a 1 in the middle of the kernel |
| TensorFlow, PyTorch | float16, bfloat16 | an addition                     |
| JAX                 | any               | an addition                     |

Half precision would round the kernel beside a 1. In float32, for a 3 x 3 kernel
(`python benchmarks/ops.py shortcut`):

| form                            | TensorFlow | JAX       | PyTorch   |
| ------------------------------- | ---------- | --------- | --------- |
| an addition                     | 2.3 / 6.6  | 2.7 / 9.9 | 1.4 / 8.2 |
| a 1 in the middle of the kernel | 1.5 / 5.6  | 2.4 / 11  | 1.1 / 5.9 |
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def depthwise_conv2d(
    inputs: Any, kernel: Any, bias: Any = None, shortcut: bool = False, strides: int = 1
) -> Any:
    """Convolve each channel by itself: y[p, c] = sum_o kernel[o, c] x[s p + o, c] + bias[c].

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        kernel: Tensor. Shape (height, width, c, 1), both odd; a square with `shortcut`.
        bias: Tensor or None. Shape (c,).
        shortcut: bool. Whether to add the inputs to the outputs, which needs a stride of 1.
        strides: int. The stride s, 1 or 2.

    Returns:
        Tensor (b, ceil(h / s), ceil(w / s), c). The borders are padded with half the kernel's
        sides, rounded down.

    Example:
    >>> from keras import ops
    >>> tuple(depthwise_conv2d(ops.ones((1, 5, 7, 2)), ops.ones((3, 3, 2, 1))).shape)
    (1, 5, 7, 2)
    """
    if shortcut:
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if keras.backend.backend() == "jax" or dtype not in ("float32", "float64"):
            return depthwise_conv2d(inputs, kernel, bias) + inputs
        kernel = kernel + ops.convert_to_tensor(identity_kernel(kernel.shape[0]), kernel.dtype)
    if keras.backend.backend() == "torch":
        return _grouped_for_torch(inputs, kernel, bias, strides)
    if keras.backend.backend() == "jax":
        outputs = _shifted_sum_for_jax()(inputs, kernel)
        outputs = outputs if strides == 1 else outputs[:, ::strides, ::strides]
    elif strides > 1:
        margins = [(side // 2, side // 2) for side in kernel.shape[:2]]
        padded = ops.pad(inputs, ((0, 0), *margins, (0, 0)))
        outputs = ops.depthwise_conv(padded, kernel, strides, "valid", "channels_last")
    else:
        outputs = ops.depthwise_conv(inputs, kernel, padding="same", data_format="channels_last")
    return outputs if bias is None else outputs + bias


def identity_kernel(size: int) -> np.ndarray:
    """Return the depthwise kernel that returns its inputs.

    Args:
        size: int. Side of the kernel, odd.

    Returns:
        np.ndarray. Shape (size, size, 1, 1).

    Example:
    >>> identity_kernel(3)[:, :, 0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    kernel = np.zeros((size, size, 1, 1))
    kernel[size // 2, size // 2] = 1
    return kernel


def _grouped_for_torch(inputs: Any, kernel: Any, bias: Any, strides: int) -> Any:
    from torch.nn import functional

    margin, channels = (kernel.shape[0] // 2, kernel.shape[1] // 2), kernel.shape[2]
    inputs = inputs.permute(0, 3, 1, 2)  # (b, c, h, w), a view
    kernel = kernel.permute(2, 3, 0, 1)  # (c, 1, k, k)
    outputs = functional.conv2d(inputs, kernel, bias, strides, margin, groups=channels)
    return outputs.permute(0, 2, 3, 1)


def _shifted_sum(inputs: Any, kernel: Any) -> Any:
    taps = [tap * kernel[i, j, :, 0] for (i, j), tap in _taps(inputs, kernel.shape[:2])]
    return sum(taps[1:], taps[0])


def _taps(inputs: Any, size: tuple[int, int]) -> list[tuple[tuple[int, int], Any]]:
    """Return ((row, column) in the kernel, shifted map) for each tap of a map (b, h, w, c)."""
    height, width = inputs.shape[1:3]
    margins = [(side // 2, side // 2) for side in size]
    padded = ops.pad(inputs, ((0, 0), *margins, (0, 0)))
    return [
        ((i, j), padded[:, i : i + height, j : j + width, :])
        for i in range(size[0])
        for j in range(size[1])
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
        size, dtype = kernel.shape[:2], keras.backend.result_type(kernel.dtype, "float32")

        def add_image(total: Any, pair: tuple) -> tuple[Any, None]:
            image, image_gradient = (x[None].astype(dtype) for x in pair)  # (1, h, w, c)
            products = [tap * image_gradient for _, tap in _taps(image, size)]
            zeros = [np.zeros((), dtype)] * len(products)
            sums = jax.lax.reduce(products, zeros, _add_each, (0, 1, 2))  # k k times (c,)
            return total + ops.stack(sums), None

        start = ops.zeros((size[0] * size[1], inputs.shape[-1]), dtype)
        total, _ = jax.lax.scan(add_image, start, (inputs, gradient))
        return ops.reshape(total, kernel.shape).astype(kernel.dtype)

    function = jax.custom_vjp(_shifted_sum)
    function.defvjp(forward, backward)
    return function


def _add_each(left: Sequence[Any], right: Sequence[Any]) -> list:
    return [a + b for a, b in zip(left, right, strict=True)]
