"""The feed-forward network with a depthwise convolution inside."""

from typing import Any

import keras

from keras_paca.layers.activation import gelu
from keras_paca.layers.composite import Composite
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.folding import UNCHANGED, Affine, fold_projection, take_weights
from keras_paca.layers.initializers import linear
from keras_paca.layers.recompute import recompute


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvMLP(Composite):
    """Feed-forward network: y = W2 GELU(t + DWConv3x3(t)) + b2, t = W1 x + b1.

    Args:
        mlp_ratio: width of the hidden layer over the channels of the input.
        dwconv: whether the 3 x 3 depthwise convolution is there at all.
        shortcut: whether its input is added to its output.
        dropout: rate after the activation and after the output.
        fused: whether the convolution's filters hold the shortcut, as `keras_paca.fuse` makes them.

    Input shape: (batch, height, width, channels), float. Output shape: the same.

    Source: PaCa-ViT (Grainger et al., CVPR 2023); the convolution is PVTv2's (Wang et al., 2022).
    """

    def __init__(
        self,
        mlp_ratio: float = 4.0,
        dwconv: bool = True,
        shortcut: bool = True,
        dropout: float = 0.0,
        fused: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_ratio = mlp_ratio
        self.dwconv = dwconv
        self.shortcut = shortcut
        self.dropout = dropout
        self.fused = fused
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        """Build the two projections and the convolution between them."""
        channels = input_shape[-1]
        hidden_shape = (*input_shape[:-1], int(channels * self.mlp_ratio))
        self.expand_dense = linear(hidden_shape[-1], **self.inner("expand"))
        self.expand_dense.build(input_shape)
        self.depthwise = None
        if self.dwconv:
            self.depthwise = DepthwiseConv2D(
                3,
                shortcut=self.shortcut,
                fused=self.fused,
                name="depthwise",
                dtype=self.dtype_policy,
            )
            self.depthwise.build(hidden_shape)
        self.project_dense = linear(channels, **self.inner("project"))
        self.project_dense.build(hidden_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Transform the map `inputs` (b, h, w, c)."""
        hidden = self.expand_dense(inputs)
        if not training:
            return self._contract(self._convolve(hidden))
        # The activations of the hidden layer would be most of what a training step holds. On
        # PyTorch the convolution is too slow to be done again.
        start = self._convolve
        if keras.backend.backend() == "torch":
            hidden, start = self._convolve(hidden), lambda hidden: hidden
        layers = [self.dropout_layer, self.project_dense]
        layers += [] if self.depthwise is None else [self.depthwise]
        return recompute(
            layers, lambda hidden: self._contract(start(hidden), training=True), hidden
        )

    def _convolve(self, hidden: Any) -> Any:
        return hidden if self.depthwise is None else self.depthwise(hidden)

    def _contract(self, hidden: Any, training: bool = False) -> Any:
        hidden = gelu(hidden, training)
        if not training:  # on PyTorch even a layer that does nothing takes 0.1 ms
            return self.project_dense(hidden)
        hidden = self.dropout_layer(hidden, training=True)
        return self.dropout_layer(self.project_dense(hidden), training=True)

    def fold(
        self, source: "ConvMLP", before: Affine = UNCHANGED, after: Affine = UNCHANGED
    ) -> None:
        """Take the weights of an unfused layer, with what stands before and after it."""
        fold_projection(self.expand_dense, source.expand_dense, before=before)
        if self.depthwise is not None:
            take_weights(self.depthwise, source.depthwise)
        fold_projection(self.project_dense, source.project_dense, after=after)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "mlp_ratio": self.mlp_ratio,
            "dwconv": self.dwconv,
            "shortcut": self.shortcut,
            "dropout": self.dropout,
            "fused": self.fused,
        }
