"""The stem whose normalisation and two convolutions are one convolution."""

import math
from typing import Any

import numpy as np
from keras import ops

from keras_paca import layers
from keras_paca.forms import register_twin
from keras_paca.inference.twin import Twin


@register_twin(layers.OverlappingStem)
class OverlappingStem(Twin, layers.OverlappingStem):
    """`keras_paca.layers.OverlappingStem` as one convolution of 7 x 7 with stride 4.

    This requires sides that are known multiples of 4; with others, the bottom and right borders
    would differ. In half precision, there are two convolutions, because rounding the product of
    the kernels would change the outputs.

    Example:
    >>> import keras, keras_paca
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), layers.OverlappingStem(8)])
    >>> fused, x = keras_paca.fuse(model), keras.random.normal((1, 32, 32, 3))
    >>> bool(keras.ops.max(keras.ops.abs(fused(x) - model(x))) < 1e-4)
    True
    """

    takes_normalisation = True  # the model passes `mean` and `deviation` instead of a layer

    def convolve(self, inputs: Any) -> Any:
        """Return the map of an image before the norm."""
        return (
            self._convolve_once(inputs) if self._is_once(inputs.shape) else super().convolve(inputs)
        )

    def _is_once(self, input_shape: tuple) -> bool:
        known = all(side is not None and side % 4 == 0 for side in input_shape[1:3])
        return known and self.compute_dtype in ("float32", "float64")

    def _convolve_once(self, inputs: Any) -> Any:
        """Return the linear part, computed with one kernel, plus the map of an image of zeros."""
        kernel1 = ops.convert_to_tensor(self.conv1.kernel)  # (3, 3, c, filters / 2)
        if self.deviation is not None:
            deviation = ops.convert_to_tensor(self.deviation, kernel1.dtype)
            kernel1 = kernel1 / ops.expand_dims(deviation, 1)
        # kernel[2 y + v, 2 x + u] = sum of kernel1[v, u] kernel2[y, x]: a transposed convolution
        kernel2 = ops.transpose(ops.convert_to_tensor(self.conv2.kernel), (3, 0, 1, 2))
        kernel = ops.conv_transpose(
            kernel2,  # (filters, 3, 3, filters / 2)
            kernel1,
            strides=2,
            padding="valid",
            data_format="channels_last",
        )
        kernel = ops.transpose(kernel, (1, 2, 3, 0))  # (7, 7, c, filters)
        padded = ops.pad(inputs, ((0, 0), (3, 0), (3, 0), (0, 0)))
        outputs = ops.conv(padded, kernel, strides=4, padding="valid", data_format="channels_last")
        zeros = ops.zeros((1, 8, 8, inputs.shape[-1]), self.compute_dtype)
        # Only the first row and the first column depend on the padding; all others are equal.
        offset = super().convolve(zeros)  # (1, 2, 2, filters)
        for axis in (1, 2):
            places = np.minimum(np.arange(outputs.shape[axis]), 1)
            offset = ops.take(offset, places, axis=axis)
        return outputs + offset

    def count_products(self, input_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, without those of the sub-layers."""
        if not self._is_once(input_shape):
            return 0
        return 49 * input_shape[-1] * math.prod(self.compute_output_shape(input_shape))
