"""How large depthwise convolutions are written into a LiteRT file; decided here and nowhere else.

XNNPACK, which computes LiteRT's files on processors, has fast kernels for up to 25 taps, such as
5 x 5. A larger kernel is written as the sum of convolutions with strips of its rows. For 7 x 7, in
ms on one core of an EPYC:

| map          | float32, whole | three strips | int8, whole | three strips |
| ------------ | -------------- | ------------ | ----------- | ------------ |
| 56 x 56 x 96 | 7.2            | 1.1          | 44          | 1.1          |
| 7 x 7 x 224  | 0.20           | 0.03         | 1.9         | 0.04         |

In int8, a shortcut is an addition again: a 1 in the middle of the kernel would leave few steps for
the other taps.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_paca.layers import DepthwiseConv2D
from keras_paca.ops.depthwise import identity_kernel

MOST_TAPS = 25


@contextlib.contextmanager
def depthwise_of_format(
    model: keras.Model, format: str, quantize: str | None = None
) -> Iterator[None]:
    """Let the depthwise convolutions of a model compute in a format's form, while it is traced.

    Args:
        model: keras.Model. The model.
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        quantize: str. The precision of a LiteRT file, `None` for float32.

    Example:
    >>> from keras_paca.layers import DepthwiseConv2D
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), DepthwiseConv2D(7)])
    >>> with depthwise_of_format(model, "litert"):
    ...     tuple(model(ops.ones((2, 8, 8, 3))).shape)
    (2, 8, 8, 3)
    """
    changed = []
    for layer in model._flatten_layers() if format == "litert" else ():
        if isinstance(layer, DepthwiseConv2D) and _is_large(layer):
            object.__setattr__(layer, "convolve", _in_strips(layer, quantize == "int8"))
            changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            object.__delattr__(layer, "convolve")


def _is_large(layer: DepthwiseConv2D) -> bool:
    return layer.kernel_size**2 > MOST_TAPS and layer.strides == 1


def _in_strips(layer: DepthwiseConv2D, add_shortcut: bool) -> Callable[..., Any]:
    """Return the convolution of a layer as a sum over strips of the kernel's rows."""
    whole = layer.convolve

    def convolve(inputs: Any, shortcut: bool) -> Any:
        if None in inputs.shape[1:3]:
            return whole(inputs, shortcut)
        kernel, size = ops.convert_to_tensor(layer.kernel), layer.kernel_size
        identity = ops.convert_to_tensor(identity_kernel(size), kernel.dtype)
        if shortcut:
            kernel = kernel + identity
        if layer.shortcut and add_shortcut:  # the kernel includes it, or does now
            kernel = kernel - identity
        # Taps further away than the map's sides read zeros; XNNPACK refuses a strip of them alone.
        margins = [min(size // 2, side - 1) for side in inputs.shape[1:3]]
        kernel = kernel[tuple(slice(size // 2 - m, size // 2 + m + 1) for m in margins)]
        padded = ops.pad(inputs, ((0, 0), *((m, m) for m in margins), (0, 0)))
        rows, total = max(1, MOST_TAPS // kernel.shape[1]), None
        for start in range(0, kernel.shape[0], rows):
            strip = kernel[start : start + rows]
            part = padded[:, start : start + inputs.shape[1] + strip.shape[0] - 1]
            part = ops.depthwise_conv(part, strip, padding="valid", data_format="channels_last")
            if total is None:
                total = part if layer.bias is None else part + layer.bias
            else:
                total = total + part
        return total + inputs if layer.shortcut and add_shortcut else total

    return convolve
