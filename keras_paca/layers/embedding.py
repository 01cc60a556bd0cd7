"""Overlapping convolutions between the stages."""

from typing import Any

import keras
from keras import ops

from keras_paca.layers.initializers import conv_initializer
from keras_paca.layers.maps import halve


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
class OverlappingTransition(keras.layers.Layer):
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
class OverlappingStem(keras.layers.Layer):
    """Embed an image at a quarter of its side: LayerNorm(Conv3x3 s2 (Conv3x3 s2 (x))).

    No activation and no norm stand between the two convolutions; the first has half the filters.

    Args:
        filters: channels of the output, even.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(ceil(height / 2) / 2), ceil(ceil(width / 2) / 2), filters).

    Raises:
        ValueError: if `filters` is odd.

    Source: PaCa-ViT (Grainger et al., CVPR 2023).
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if filters % 2:
            raise ValueError(f"`filters` must be even. Received: filters={filters}")
        self.filters = filters
        self.conv1 = downsample_conv(filters // 2, dtype=self.dtype_policy, name="conv1")
        self.conv2 = downsample_conv(filters, dtype=self.dtype_policy, name="conv2")
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=self.dtype_policy, name="norm"
        )

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the norm."""
        batch, height, width, _ = input_shape
        self.conv1.build(padded_shape(input_shape))
        self.conv2.build(padded_shape((batch, halve(height), halve(width), self.filters // 2)))
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        """Embed the image `inputs` (b, h, w, c)."""
        outputs = self.conv1(pad_borders(inputs))  # (b, h / 2, w / 2, filters / 2)
        outputs = self.conv2(pad_borders(outputs))  # (b, h / 4, w / 4, filters)
        return self.norm(outputs)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, a quarter of the height, of the width, filters), each half rounded up."""
        batch, height, width, _ = input_shape
        return (batch, halve(halve(height)), halve(halve(width)), self.filters)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "filters": self.filters}
