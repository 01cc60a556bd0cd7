"""A convolution and its batch normalization, of any kernel or depthwise."""

from typing import Any

import keras
from keras.ops import relu, relu6

from keras_paca import ops
from keras_paca.arguments import check_boolean, check_choice, check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.layers.dense import Dense
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.embedding import pad_borders, padded_shape
from keras_paca.layers.initializers import conv_initializer, fan_in_initializer

INITIAL = {"in": fan_in_initializer, "out": conv_initializer}


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvNorm(BaseLayer):
    """Convolution and batch normalization: y = BN(W * x + b), and an activation if `activate`.

    The borders are padded with zeros on both sides alike, as PyTorch does: by
    `dilation_rate * (kernel_size // 2)`. A 1 x 1 convolution is a matrix product, which is also
    applied to vectors.

    Args:
        filters: int. Number of channels of the output.
        kernel_size: int. Side of the square kernel, 1, 3 or 7.
        strides: int. 1, or 2 for a kernel that isn't dilated.
        dilation_rate: int. Distance between the taps of the kernel, 1 for a 1 x 1 kernel.
        activate: bool. Whether the activation is applied.
        activation: str. The activation: "gelu", "relu" or "relu6".
        use_bias: bool. Whether the convolution has a bias, which the norm makes redundant.
        gamma_initializer: str. Name of the initializer of the norm's scale, such as "zeros".
        fan: str. "in" or "out": whether the variance of the kernel's initial values, 2 / fan,
            counts the channels of the inputs or of the outputs.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), or (batch, channels) for a 1 x 1 kernel without
        strides; float.
    Output shape: (batch, ceil(height / strides), ceil(width / strides), filters), or (batch,
        filters).

    Raises:
        ValueError: If an argument has another value, or if two of them don't fit.

    Source: RapidNet (Munir et al., WACV 2025).

    Example:
    >>> x = keras.ops.ones((1, 5, 8, 3))
    >>> tuple(ConvNorm(4, 3, strides=2)(x).shape)
    (1, 3, 4, 4)
    >>> tuple(ConvNorm(4, 3, dilation_rate=3, activate=True)(x).shape)
    (1, 5, 8, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        dilation_rate: int = 1,
        activate: bool = False,
        activation: str = "gelu",
        use_bias: bool = True,
        gamma_initializer: str = "ones",
        fan: str = "in",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_positive("filters", filters)
        self.kernel_size = check_choice("kernel_size", kernel_size, (1, 3, 7))
        self.dilation_rate = check_positive("dilation_rate", dilation_rate)
        self.activate = check_boolean("activate", activate)
        self.activation = check_choice("activation", activation, ("gelu", "relu", "relu6"))
        self.use_bias = check_boolean("use_bias", use_bias)
        self.gamma_initializer = gamma_initializer
        self.fan = check_choice("fan", fan, tuple(INITIAL))
        if kernel_size == 1 and dilation_rate != 1:
            raise ValueError(
                "`dilation_rate` must be 1 for a 1 x 1 kernel. Received: "
                f"dilation_rate={dilation_rate}"
            )
        if strides not in ((1, 2) if dilation_rate == 1 else (1,)):
            raise ValueError(
                "`strides` must be 1, or 2 for a kernel that isn't dilated. Received: "
                f"strides={strides!r}, dilation_rate={dilation_rate}"
            )
        self.strides = strides
        initial = {"use_bias": use_bias, "kernel_initializer": INITIAL[fan]()}
        if kernel_size == 1:
            self.conv = self.make(Dense, "conv", filters, **initial)
        else:
            self.conv = self.make(
                keras.layers.Conv2D,
                "conv",
                filters,
                kernel_size,
                strides=strides,
                padding="same" if strides == 1 else "valid",
                dilation_rate=dilation_rate,
                data_format="channels_last",
                **initial,
            )
        self.norm = self.make(BatchNormalization, "norm", gamma_initializer=gamma_initializer)

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm."""
        if self.strides == 2 and len(input_shape) != 4:
            raise ValueError(f"`strides=2` needs a map. Received: inputs of shape {input_shape}")
        self.conv.build(
            padded_shape(input_shape, self.kernel_size // 2) if self.strides == 2 else input_shape
        )
        if self.norm is not None:
            self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        x = inputs
        if self.strides == 2:
            x = x[:, ::2, ::2] if self.kernel_size == 1 else pad_borders(x, self.kernel_size // 2)
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x, training=training)
        if not self.activate:
            return x
        if self.activation == "gelu":
            return ops.gelu(x, training)
        return relu6(x) if self.activation == "relu6" else relu(x)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        sides = input_shape[1:-1]
        if self.strides == 2:
            sides = tuple(ops.halve(side) for side in sides)
        return (input_shape[0], *sides, self.filters)


@keras.saving.register_keras_serializable(package="keras_paca")
class DepthwiseNorm(BaseLayer):
    """Depthwise convolution and batch normalization: y = BN(DWConv(x)), and GELU of it if asked.

    Args:
        kernel_size: int. Side of the square kernel, odd.
        use_bias: bool. Whether the convolution has a bias.
        activate: bool. Whether the GELU is applied.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Raises:
        ValueError: If `kernel_size` is not a positive odd integer, or if `use_bias` or `activate`
            is neither True nor False.

    Source: RapidNet (Munir et al., WACV 2025).

    Example:
    >>> tuple(DepthwiseNorm(7, use_bias=False)(keras.ops.ones((1, 5, 8, 4))).shape)
    (1, 5, 8, 4)
    """

    def __init__(
        self, kernel_size: int, use_bias: bool = True, activate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.use_bias = check_boolean("use_bias", use_bias)
        self.activate = check_boolean("activate", activate)
        self.conv = self.make(DepthwiseConv2D, "conv", kernel_size, use_bias=use_bias)
        self.norm = self.make(BatchNormalization, "norm")

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm."""
        self.conv.build(input_shape)
        if self.norm is not None:
            self.norm.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        x = self.conv(inputs)
        x = x if self.norm is None else self.norm(x, training=training)
        return ops.gelu(x, training) if self.activate else x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape
