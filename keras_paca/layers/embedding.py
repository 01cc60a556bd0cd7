"""Overlapping convolutions between the stages."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.layers.initializers import conv_initializer
from keras_paca.layers.maps import halve
from keras_paca.layers.nested import NestedLayer


def downsample_conv(filters: int, **kwargs: Any) -> keras.layers.Conv2D:
    """Return a 3 x 3 convolution of stride 2 for maps that `pad_borders` has padded."""
    return keras.layers.Conv2D(
        filters,
        3,
        strides=2,
        padding="valid",
        data_format="channels_last",
        kernel_initializer=conv_initializer(),
        **kwargs,
    )


def pad_borders(inputs: Any) -> Any:
    """Pad a map by one row and column of zeros on every side."""
    # Keras's "same" pads a stride-2 convolution on the far side only, PyTorch on both.
    return ops.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))


def padded_shape(input_shape: tuple) -> tuple:
    """Return the shape of a map after `pad_borders`."""
    batch, height, width, channels = input_shape
    grow = [None if side is None else side + 2 for side in (height, width)]
    return (batch, *grow, channels)


@keras.saving.register_keras_serializable(package="keras_paca")
class OverlappingTransition(NestedLayer):
    """Halve a map between two stages: y = LayerNorm(Conv3x3, stride 2, padding 1 (x)).

    Args:
        filters: channels of the output.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / 2), ceil(width / 2), filters).

    Source: PaCa-ViT (Grainger et al., CVPR 2023).
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.conv = downsample_conv(filters, dtype=self.dtype_policy, name="conv")
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm."""
        self.conv.build(padded_shape(input_shape))
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        """Halve the map `inputs` (b, h, w, c)."""
        return self.norm(self.conv(pad_borders(inputs)))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, ceil(height / 2), ceil(width / 2), filters)."""
        batch, height, width, _ = input_shape
        return (batch, halve(height), halve(width), self.filters)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="keras_paca")
class OverlappingStem(NestedLayer):
    """Embed an image at a quarter of its side: LayerNorm(Conv3x3 s2 (Conv3x3 s2 (x))).

    x is the image, or (image - mean) / deviation where these are given.

    No activation and no norm stand between the two convolutions; the first has half the filters.

    Args:
        filters: channels of the output, even.
        mean: one number per channel, or `None`.
        deviation: one number per channel, not 0, or `None`.
        fused: whether the stem has the form for inference that `keras_paca.fuse` makes: where
            sides are known multiples of 4, one convolution of 7 x 7 with stride 4 does all. In
            half precision there are two as before.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(ceil(height / 2) / 2), ceil(ceil(width / 2) / 2), filters).

    Raises:
        ValueError: if `filters` is odd, or `mean` or `deviation` doesn't fit the channels.

    Source: PaCa-ViT (Grainger et al., CVPR 2023).
    """

    def __init__(
        self,
        filters: int,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        fused: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if filters % 2:
            raise ValueError(f"`filters` must be even. Received: filters={filters}")
        self.filters = filters
        self.mean = None if mean is None else [float(value) for value in mean]
        self.deviation = None if deviation is None else [float(value) for value in deviation]
        if 0.0 in (self.deviation or ()):
            raise ValueError(f"`deviation` must not hold 0. Received: deviation={deviation}")
        self.fused = fused
        self.conv1 = downsample_conv(filters // 2, dtype=self.dtype_policy, name="conv1")
        self.conv2 = downsample_conv(filters, dtype=self.dtype_policy, name="conv2")
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the norm."""
        batch, height, width, channels = input_shape
        for name in ("mean", "deviation"):
            given = getattr(self, name)
            if given is not None and len(given) != channels:
                raise ValueError(
                    f"`{name}` must have one number per channel. "
                    f"Received: {name}={given}, and inputs of shape {input_shape}"
                )
        self.conv1.build(padded_shape(input_shape))
        self.conv2.build(padded_shape((batch, halve(height), halve(width), self.filters // 2)))
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        """Embed the image `inputs` (b, h, w, c)."""
        convolve = self._convolve_once if self._is_once(inputs.shape) else self._convolve_twice
        return self.norm(convolve(inputs))

    def _convolve_twice(self, inputs: Any) -> Any:
        outputs = inputs
        if self.mean is not None:
            outputs = outputs - ops.convert_to_tensor(self.mean, self.compute_dtype)
        if self.deviation is not None:
            outputs = outputs / ops.convert_to_tensor(self.deviation, self.compute_dtype)
        outputs = self.conv1(pad_borders(outputs))  # (b, h / 2, w / 2, filters / 2)
        return self.conv2(pad_borders(outputs))  # (b, h / 4, w / 4, filters)

    def _is_once(self, input_shape: tuple) -> bool:
        """Return whether one convolution does all.

        At the far borders of other sides it would differ; half precision would round the sums.
        """
        known = all(side is not None and side % 4 == 0 for side in input_shape[1:3])
        return known and self.fused and self.compute_dtype in ("float32", "float64")

    def _convolve_once(self, inputs: Any) -> Any:
        """Return the linear part, by one kernel, plus what all of it makes of an image of zeros."""
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
        # Only the first row and column see the padding; all others are alike.
        offset = self._convolve_twice(zeros)  # (1, 2, 2, filters)
        for axis in (1, 2):
            places = np.minimum(np.arange(outputs.shape[axis]), 1)
            offset = ops.take(offset, places, axis=axis)
        return outputs + offset

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, a quarter of the height, of the width, filters), each half rounded up."""
        batch, height, width, _ = input_shape
        return (batch, halve(halve(height)), halve(halve(width)), self.filters)

    def count_products(self, input_shape: tuple) -> int:
        """Return the multiply-accumulates of a call beside those of the two convolutions."""
        if not self._is_once(input_shape):
            return 0
        return 49 * input_shape[-1] * math.prod(self.compute_output_shape(input_shape))

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "mean": self.mean,
            "deviation": self.deviation,
            "fused": self.fused,
        }
