"""Multi-level dilated convolution, and the block around it."""

from collections.abc import Sequence
from typing import Any

import keras
from keras.ops import cast

from keras_paca.arguments import check_factor, check_positive, check_rate
from keras_paca.layers.base import BaseLayer, RecomputedLayer
from keras_paca.layers.conv_norm import ConvNorm
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.large_kernel_ffn import LargeKernelFFN


@keras.saving.register_keras_serializable(package="keras_paca")
class MultiLevelDilatedConv(BaseLayer):
    """Sum of 3 x 3 convolutions of several dilations, with 1 x 1 convolutions around it.

    t = BN(W1 (x + DWConv7x7(x)))
    y = BN(W2 sum_d GELU(BN(Conv3x3_d(t)))), where d are the dilations

    The depthwise convolution with its shortcut is a conditional position encoding.

    Args:
        dilations: Sequence of int. The dilation of each 3 x 3 convolution.
        kernel_size: int. Side of the depthwise convolution's kernel, odd.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Raises:
        ValueError: If there is no dilation, if one isn't a positive integer, or if `kernel_size`
            is not a positive odd integer.

    Source: RapidNet (Munir et al., WACV 2025).

    Example:
    >>> tuple(MultiLevelDilatedConv()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(
        self, dilations: Sequence[int] = (2, 3), kernel_size: int = 7, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dilations = _check_dilations(dilations)
        self.kernel_size = kernel_size
        self.position = self.make(DepthwiseConv2D, "position", kernel_size, shortcut=True)

    def build(self, input_shape: tuple) -> None:
        """Build the convolutions."""
        channels = input_shape[-1]
        self.reduce = self.make(ConvNorm, "reduce", channels)
        self.levels = [
            self.make(ConvNorm, f"level{n}", channels, 3, dilation_rate=dilation, activate=True)
            for n, dilation in enumerate(self.dilations, start=1)
        ]
        self.project = self.make(ConvNorm, "project", channels)
        for layer in (self.position, self.reduce, *self.levels, self.project):
            layer.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        x = self.reduce(self.position(inputs), training=training)
        first, *others = (level(x, training=training) for level in self.levels)
        return self.project(sum(others, first), training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape


@keras.saving.register_keras_serializable(package="keras_paca")
class MLDCBlock(RecomputedLayer):
    """Multi-level dilated convolution, then a large-kernel feed-forward network.

    x = x + DropPath(g1 MLDC(x))
    x = x + DropPath(g2 FFN(x))

    Args:
        dilations: Sequence of int. The dilation of each 3 x 3 convolution.
        expansion: int. Width of the feed-forward network's hidden layer, as a multiple of the
            channels.
        kernel_size: int. Side of the kernels of both depthwise convolutions, odd.
        layer_scale: float. Initial value of the learned channel scales g1 and g2, or `None` for a
            block without them.
        drop_path_rate: float. Rate at which both residual branches are dropped.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass. This takes less memory and more time; the gradients
            are the same.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Raises:
        ValueError: If an argument lies outside its range.

    Source: RapidNet (Munir et al., WACV 2025).

    Example:
    >>> tuple(MLDCBlock()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(
        self,
        dilations: Sequence[int] = (2, 3),
        expansion: int = 4,
        kernel_size: int = 7,
        layer_scale: float | None = 1e-5,
        drop_path_rate: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(remat, **kwargs)
        self.dilations = _check_dilations(dilations)
        self.expansion = check_positive("expansion", expansion)
        self.kernel_size = kernel_size
        self.layer_scale = None if layer_scale is None else check_factor("layer_scale", layer_scale)
        self.drop_path_rate = check_rate("drop_path_rate", drop_path_rate)
        self.mixer = self.make(MultiLevelDilatedConv, "mixer", self.dilations, kernel_size)
        self.ffn = self.make(LargeKernelFFN, "ffn", expansion, kernel_size)
        self.drop_path1 = self.make(DropPath, "drop_path1", drop_path_rate)
        self.drop_path2 = self.make(DropPath, "drop_path2", drop_path_rate)

    def build(self, input_shape: tuple) -> None:
        """Build the two branches and their scales."""
        self.mixer.build(input_shape)
        self.ffn.build(input_shape)
        self.scale1 = self.scale2 = None
        if self.layer_scale is not None:
            shape, initial = input_shape[-1:], keras.initializers.Constant(self.layer_scale)
            self.scale1 = self.add_weight(name="scale1", shape=shape, initializer=initial)
            self.scale2 = self.add_weight(name="scale2", shape=shape, initializer=initial)

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the block's output."""
        y = self.mixer(inputs, training=training)
        y = y if self.scale1 is None else y * cast(self.scale1, y.dtype)
        x = inputs + (self.drop_path1(y, training=True) if training else y)
        y = self.ffn(x, training=training)
        y = y if self.scale2 is None else y * cast(self.scale2, y.dtype)
        return x + (self.drop_path2(y, training=True) if training else y)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape


def _check_dilations(dilations: Any) -> tuple[int, ...]:
    """Return the argument `dilations` as a tuple."""
    try:
        checked = tuple(check_positive("dilations", each) for each in dilations)
    except (TypeError, ValueError):  # no sequence, or an entry that isn't a positive integer
        checked = ()
    if not checked:
        raise ValueError(
            "`dilations` must be a sequence of one or more positive integers. "
            f"Received: dilations={dilations!r}"
        )
    return checked
