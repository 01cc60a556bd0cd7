"""The local block of RapidNet, as in MobileNetV2."""

from typing import Any

import keras
from keras.ops import cast

from keras_paca.arguments import check_factor, check_positive, check_rate
from keras_paca.layers.base import RecomputedLayer
from keras_paca.layers.conv_norm import ConvNorm, DepthwiseNorm
from keras_paca.layers.drop_path import DropPath


@keras.saving.register_keras_serializable(package="keras_paca")
class InvertedResidual(RecomputedLayer):
    """Block that is wide inside: x = x + DropPath(g f(x)) with a depthwise convolution in f.

    f = BN(W2 GELU(BN(DWConv3x3(GELU(BN(W1 x)))))), all convolutions with biases.

    Args:
        expansion: int. Width inside the block, as a multiple of the channels.
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        layer_scale: float. Initial value of the learned channel scale g, or `None` for a block
            without it.
        drop_path_rate: float. Rate at which the residual branch is dropped.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass. This takes less memory and more time; the gradients
            are the same.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Raises:
        ValueError: If an argument lies outside its range.

    Source: RapidNet (Munir et al., WACV 2025), after MobileNetV2 (Sandler et al., CVPR 2018).

    Example:
    >>> tuple(InvertedResidual()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(
        self,
        expansion: int = 4,
        kernel_size: int = 3,
        layer_scale: float | None = 1e-5,
        drop_path_rate: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(remat, **kwargs)
        self.expansion = check_positive("expansion", expansion)
        self.kernel_size = kernel_size
        self.layer_scale = None if layer_scale is None else check_factor("layer_scale", layer_scale)
        self.drop_path_rate = check_rate("drop_path_rate", drop_path_rate)
        self.depthwise = self.make(DepthwiseNorm, "depthwise", kernel_size, activate=True)
        self.drop_path = self.make(DropPath, "drop_path", drop_path_rate)

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions and the scale."""
        channels = input_shape[-1]
        hidden_shape = (*input_shape[:-1], self.expansion * channels)
        self.expand = self.make(ConvNorm, "expand", hidden_shape[-1], activate=True)
        self.expand.build(input_shape)
        self.depthwise.build(hidden_shape)
        self.project = self.make(ConvNorm, "project", channels)
        self.project.build(hidden_shape)
        self.scale = None
        if self.layer_scale is not None:
            initial = keras.initializers.Constant(self.layer_scale)
            self.scale = self.add_weight(name="scale", shape=(channels,), initializer=initial)

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the block's output."""
        x = self.expand(inputs, training=training)
        x = self.depthwise(x, training=training)
        x = self.project(x, training=training)
        x = x if self.scale is None else x * cast(self.scale, x.dtype)
        return inputs + (self.drop_path(x, training=True) if training else x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape
