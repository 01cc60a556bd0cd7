"""Overlapping convolutions before the first stage and between the stages."""

from collections.abc import Sequence
from typing import Any

import keras
from keras.ops import convert_to_tensor, pad

from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import conv3x3
from keras_paca.ops import halve


def pad_borders(inputs: Any, margin: int = 1) -> Any:
    """Pad a map with rows and columns of zeros, by default one on every side.

    Before a convolution of stride 2, Keras's `padding="same"` pads even sides only at the end,
    while PyTorch pads them at both ends.

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        margin: int. Number of rows or columns on every side.

    Example:
    >>> tuple(pad_borders(keras.ops.ones((1, 5, 7, 3))).shape)
    (1, 7, 9, 3)
    """
    return pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))


def padded_shape(input_shape: tuple, margin: int = 1) -> tuple:
    """Return the shape of a map after `pad_borders`.

    Args:
        input_shape: tuple. (batch, height, width, channels).
        margin: int. As for `pad_borders`.

    Example:
    >>> padded_shape((None, 5, None, 3))
    (None, 7, None, 3)
    """
    batch, height, width, channels = input_shape
    grown = [None if side is None else side + 2 * margin for side in (height, width)]
    return (batch, *grown, channels)


@keras.saving.register_keras_serializable(package="keras_paca")
class OverlappingTransition(BaseLayer):
    """Halve a map between two stages: y = LayerNorm(Conv3x3(x)), with stride 2 and padding 1.

    Args:
        filters: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / 2), ceil(width / 2), filters).

    Source: PaCa-ViT (Grainger et al., CVPR 2023).

    Example:
    >>> tuple(OverlappingTransition(4)(keras.ops.ones((1, 5, 8, 3))).shape)
    (1, 3, 4, 4)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.conv = self.make(conv3x3, "conv", filters, strides=2)
        self.norm = self.make(keras.layers.LayerNormalization, "norm", epsilon=1e-6)

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


@keras.saving.register_keras_serializable(package="keras_paca")
class OverlappingStem(BaseLayer):
    """Embed an image in a map of a quarter of its sides: y = LayerNorm(Conv3x3(Conv3x3(x))).

    Here x is the image, or (image - mean) / deviation if these are given. Both convolutions have
    stride 2, and the first has half the filters. There is no activation and no norm between them.

    Args:
        filters: int. Number of channels of the output, even.
        mean: Sequence of float. Mean of each channel, or `None`.
        deviation: Sequence of float. Standard deviation of each channel, none of them 0, or `None`.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(ceil(height / 2) / 2), ceil(ceil(width / 2) / 2), filters).

    Raises:
        ValueError: If `filters` is odd, or `mean` or `deviation` doesn't fit the channels.

    Source: PaCa-ViT (Grainger et al., CVPR 2023).

    Example:
    >>> tuple(OverlappingStem(8)(keras.ops.ones((1, 32, 45, 3))).shape)
    (1, 8, 12, 8)
    """

    def __init__(
        self,
        filters: int,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
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
        self.conv1 = self.make(conv3x3, "conv1", filters // 2, strides=2)
        self.conv2 = self.make(conv3x3, "conv2", filters, strides=2)
        self.norm = self.make(keras.layers.LayerNormalization, "norm", epsilon=1e-6)

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
        return self.norm(self.convolve(inputs))

    def convolve(self, inputs: Any) -> Any:
        """Return the map of an image before the norm."""
        x = inputs
        if self.mean is not None:
            x = x - convert_to_tensor(self.mean, self.compute_dtype)
        if self.deviation is not None:
            x = x / convert_to_tensor(self.deviation, self.compute_dtype)
        x = self.conv1(pad_borders(x))  # (b, h / 2, w / 2, filters / 2)
        return self.conv2(pad_borders(x))  # (b, h / 4, w / 4, filters)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height / 4, width / 4, filters), where each of two halvings rounds up."""
        batch, height, width, _ = input_shape
        return (batch, halve(halve(height)), halve(halve(width)), self.filters)
