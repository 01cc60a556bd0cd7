"""The residual blocks of ResNet and MobileNetV2 with attentive normalization."""

from typing import Any

import keras
from keras.ops import relu, relu6

from keras_paca import ops
from keras_paca.arguments import check_choice, check_positive, check_rate
from keras_paca.layers.attentive_norm import AttentiveBatchNormalization
from keras_paca.layers.base import RecomputedLayer
from keras_paca.layers.conv_norm import ConvNorm
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.embedding import pad_borders, padded_shape
from keras_paca.layers.initializers import conv3x3

PLAIN = {"use_bias": False, "fan": "out"}  # of all convolutions here


class AttentiveResidual(RecomputedLayer):
    """Base class of both blocks: what they have before and after their branch.

    A subclass defines `transform`, the branch.

    Args:
        filters: int. Number of filters.
        mixtures: int. K, the affine transformations that the attentive normalization mixes.
        strides: int. 1, or 2 for half the sides.
        expansion: int. Ratio of the largest to the smallest width of the block.
        drop_path_rate: float. Rate at which the residual branch is dropped.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass. This takes less memory and more time; the gradients
            are the same.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> from keras_paca import layers
    >>> issubclass(layers.AttentiveBottleneck, AttentiveResidual)
    True
    """

    def __init__(
        self,
        filters: int,
        mixtures: int,
        strides: int = 1,
        expansion: int = 4,
        drop_path_rate: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(remat, **kwargs)
        self.filters = check_positive("filters", filters)
        self.mixtures = check_positive("mixtures", mixtures)
        self.strides = check_choice("strides", strides, (1, 2))
        self.expansion = check_positive("expansion", expansion)
        self.drop_path_rate = check_rate("drop_path_rate", drop_path_rate)
        self.drop_path = self.make(DropPath, "drop_path", drop_path_rate)

    @property
    def channels(self) -> int:
        """Number of channels of the output."""
        return self.filters

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        batch, height, width, _ = input_shape
        if self.strides == 2:
            height, width = ops.halve(height), ops.halve(width)
        return (batch, height, width, self.channels)


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveBottleneck(AttentiveResidual):
    """Bottleneck of ResNet with attentive normalization: y = ReLU(shortcut(x) + DropPath(f(x))).

    f = BN(W2 ReLU(AN(Conv3x3(ReLU(BN(W1 x)))))). The shortcut is x or, where the sides or the
    channels differ, BN(W x). The scale of the last norm of f starts at 0.

    Args:
        filters: int. Number of channels inside the block.
        mixtures: int. K, the affine transformations that the attentive normalization mixes.
        strides: int. Stride of the 3 x 3 convolution and of the shortcut, 1 or 2.
        expansion: int. Number of channels of the output as a multiple of `filters`.
        drop_path_rate: float. Rate at which the residual branch is dropped.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / strides), ceil(width / strides), expansion * filters).

    Raises:
        ValueError: If an argument lies outside its range.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020; He et al., CVPR 2016.

    Example:
    >>> block = AttentiveBottleneck(filters=4, mixtures=5, strides=2)
    >>> tuple(block(keras.ops.ones((1, 5, 8, 8))).shape)
    (1, 3, 4, 16)
    """

    @property
    def channels(self) -> int:
        """Number of channels of the output."""
        return self.expansion * self.filters

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the norms."""
        options = {"activate": True, "activation": "relu", **PLAIN}
        self.reduce = self.make(ConvNorm, "reduce", self.filters, **options)
        self.reduce.build(input_shape)
        inside = (*input_shape[:-1], self.filters)
        options = {"strides": self.strides, "use_bias": False}
        self.conv = self.make(conv3x3, "conv", self.filters, **options)
        self.conv.build(inside if self.strides == 1 else padded_shape(inside))
        outside = self.compute_output_shape(input_shape)
        inside = (*outside[:-1], self.filters)
        self.norm = self.make(AttentiveBatchNormalization, "norm", self.mixtures)
        self.norm.build(inside)
        last = {"gamma_initializer": "zeros", **PLAIN}
        self.expand = self.make(ConvNorm, "expand", self.channels, **last)
        self.expand.build(inside)
        self.shortcut = None
        if self.strides != 1 or input_shape[-1] != self.channels:
            options = {"strides": self.strides, **PLAIN}
            self.shortcut = self.make(ConvNorm, "shortcut", self.channels, **options)
            self.shortcut.build(input_shape)

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the block's output."""
        x = self.reduce(inputs, training=training)
        x = self.conv(x if self.strides == 1 else pad_borders(x))
        x = relu(self.norm(x, training=training))
        x = self.expand(x, training=training)
        x = self.drop_path(x, training=True) if training else x
        if self.shortcut is not None:
            inputs = self.shortcut(inputs, training=training)
        return relu(inputs + x)


@keras.saving.register_keras_serializable(package="keras_paca")
class AttentiveInvertedResidual(AttentiveResidual):
    """Block of MobileNetV2 with attentive normalization: y = x + DropPath(f(x)), or f(x) alone.

    f = BN(W2 ReLU6(AN(DWConv3x3(ReLU6(BN(W1 x)))))). With `expansion=1`, W1 and its norm are left
    out. There is no shortcut where the sides or the channels differ.

    Args:
        filters: int. Number of channels of the output.
        mixtures: int. K, the affine transformations that the attentive normalization mixes.
        strides: int. Stride of the depthwise convolution, 1 or 2.
        expansion: int. Width inside the block as a multiple of the channels of the input.
        drop_path_rate: float. Rate at which the residual branch is dropped.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: (batch, ceil(height / strides), ceil(width / strides), filters).

    Raises:
        ValueError: If an argument lies outside its range.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020; Sandler et al., CVPR 2018.

    Example:
    >>> block = AttentiveInvertedResidual(filters=16, mixtures=5, strides=2, expansion=6)
    >>> tuple(block(keras.ops.ones((1, 5, 8, 8))).shape)
    (1, 3, 4, 16)
    """

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the norms."""
        inside = (*input_shape[:-1], self.expansion * input_shape[-1])
        self.expand = None
        if self.expansion != 1:
            options = {"activate": True, "activation": "relu6", **PLAIN}
            self.expand = self.make(ConvNorm, "expand", inside[-1], **options)
            self.expand.build(input_shape)
        options = {"use_bias": False, "strides": self.strides}
        self.depthwise = self.make(DepthwiseConv2D, "depthwise", 3, **options)
        self.depthwise.build(inside)
        inside = self.depthwise.compute_output_shape(inside)
        self.norm = self.make(AttentiveBatchNormalization, "norm", self.mixtures)
        self.norm.build(inside)
        self.project = self.make(ConvNorm, "project", self.filters, **PLAIN)
        self.project.build(inside)
        self.has_shortcut = self.strides == 1 and input_shape[-1] == self.filters

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the block's output."""
        x = inputs if self.expand is None else self.expand(inputs, training=training)
        x = relu6(self.norm(self.depthwise(x), training=training))
        x = self.project(x, training=training)
        if not self.has_shortcut:
            return x
        return inputs + (self.drop_path(x, training=True) if training else x)
