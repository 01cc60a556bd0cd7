"""The layers of DenseNet with attentive normalization, and the transitions between its stages."""

from typing import Any

import keras
from keras.ops import average_pool, concatenate, relu

from keras_paca.arguments import check_positive
from keras_paca.layers.attentive_norm import AttentiveBatchNormalization
from keras_paca.layers.base import BaseLayer, RecomputedLayer
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.initializers import conv3x3, pointwise


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveDenseLayer(RecomputedLayer):
    """Layer of DenseNet with attentive normalization, which appends channels to its input.

    y = [x, Conv3x3(ReLU(AN(W ReLU(BN(x)))))]

    Args:
        growth_rate: int. Number of channels that are appended.
        mixtures: int. K, the affine transformations that the attentive normalization mixes.
        expansion: int. Width inside the layer as a multiple of `growth_rate`.
        remat: bool. Whether training keeps only the inputs of the layer in memory and computes the
            layer again in the backward pass. This takes less memory and more time; the gradients
            are the same.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height, width, channels + growth_rate).

    Raises:
        ValueError: If an argument lies outside its range.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020; Huang et al., "Densely Connected
    Convolutional Networks", CVPR 2017.

    Example:
    >>> tuple(AttentiveDenseLayer(growth_rate=4, mixtures=5)(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 12)
    """

    def __init__(
        self,
        growth_rate: int,
        mixtures: int,
        expansion: int = 4,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(remat, **kwargs)
        self.growth_rate = check_positive("growth_rate", growth_rate)
        self.mixtures = check_positive("mixtures", mixtures)
        self.expansion = check_positive("expansion", expansion)
        width = self.expansion * self.growth_rate
        self.norm1 = self.make(BatchNormalization, "norm1")
        self.reduce = self.make(pointwise, "reduce", width, use_bias=False)
        self.norm2 = self.make(AttentiveBatchNormalization, "norm2", mixtures)
        self.conv = self.make(conv3x3, "conv", growth_rate, use_bias=False)

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the norms."""
        self.norm1.build(input_shape)
        self.reduce.build(input_shape)
        inside = (*input_shape[:-1], self.expansion * self.growth_rate)
        self.norm2.build(inside)
        self.conv.build(inside)

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the layer's output."""
        x = self.reduce(relu(self.norm1(inputs, training=training)))
        x = self.conv(relu(self.norm2(x, training=training)))
        return concatenate([inputs, x], axis=-1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return (*input_shape[:-1], input_shape[-1] + self.growth_rate)


@keras.saving.register_keras_serializable(package="keras_paca")
class DenseTransition(BaseLayer):
    """Halve a map between two stages of DenseNet: y = AveragePool2x2(W ReLU(BN(x))).

    The last row or column of an odd side is left out.

    Args:
        filters: int. Number of channels of the output.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, height // 2, width // 2, filters).

    Raises:
        ValueError: If `filters` isn't a positive integer.

    Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.

    Example:
    >>> tuple(DenseTransition(4)(keras.ops.ones((1, 5, 8, 8))).shape)
    (1, 2, 4, 4)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = check_positive("filters", filters)
        self.norm = self.make(BatchNormalization, "norm")
        self.conv = self.make(pointwise, "conv", filters, use_bias=False)

    def build(self, input_shape: tuple) -> None:
        """Build the norm and the projection."""
        self.norm.build(input_shape)
        self.conv.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Halve the map `inputs` (b, h, w, c)."""
        return self._pool(self.conv(relu(self.norm(inputs, training=training))))

    def _pool(self, x: Any) -> Any:
        return average_pool(x, 2, 2, "valid", "channels_last")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (batch, height // 2, width // 2, filters)."""
        batch, *sides, _ = input_shape
        return (batch, *(None if side is None else side // 2 for side in sides), self.filters)
