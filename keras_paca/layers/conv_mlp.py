"""The feed-forward network with a depthwise convolution inside."""

from typing import Any

import keras

from keras_paca import ops
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.depthwise import DepthwiseConv2D
from keras_paca.layers.initializers import linear


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvMLP(BaseLayer):
    """Feed-forward network: y = W2 GELU(t + DWConv3x3(t)) + b2, t = W1 x + b1.

    Args:
        mlp_ratio: float. Width of the hidden layer, as a multiple of the channels.
        dwconv: bool. Whether there is a 3 x 3 depthwise convolution.
        shortcut: bool. Whether the convolution's input is added to its output.
        dropout: float. Rate of dropout after the activation and after the output.
        recompute_activations: bool. Whether training computes the activations of the hidden layer
            again in the backward pass. They would take most of the memory of a training step.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (batch, height, width, channels), float.
    Output shape: The same.

    Source: PaCa-ViT (Grainger et al., CVPR 2023). The convolution is PVTv2's (Wang et al., 2022).

    Example:
    >>> tuple(ConvMLP()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(
        self,
        mlp_ratio: float = 4.0,
        dwconv: bool = True,
        shortcut: bool = True,
        dropout: float = 0.0,
        recompute_activations: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlp_ratio = mlp_ratio
        self.dwconv = dwconv
        self.shortcut = shortcut
        self.dropout = dropout
        self.recompute_activations = recompute_activations
        self.dropout_layer = self.make(keras.layers.Dropout, "dropout", dropout)

    def build(self, input_shape: tuple) -> None:
        """Build the two projections and the convolution between them."""
        channels = input_shape[-1]
        hidden_shape = (*input_shape[:-1], int(channels * self.mlp_ratio))
        self.expand_dense = self.make(linear, "expand", hidden_shape[-1])
        self.expand_dense.build(input_shape)
        self.depthwise = None
        if self.dwconv:
            self.depthwise = self.make(DepthwiseConv2D, "depthwise", 3, shortcut=self.shortcut)
            self.depthwise.build(hidden_shape)
        self.project_dense = self.make(linear, "project", channels)
        self.project_dense.build(hidden_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the network to the map `inputs` (b, h, w, c)."""
        hidden = self.expand_dense(inputs)
        if not training:
            return self._contract(self._convolve(hidden))
        if not self.recompute_activations:
            return self._contract(self._convolve(hidden), training=True)
        convolve = self._convolve
        if not ops.is_recomputed("depthwise"):
            hidden, convolve = self._convolve(hidden), lambda hidden: hidden
        layers = [self.dropout_layer, self.project_dense]
        layers += [] if self.depthwise is None else [self.depthwise]
        return ops.recompute(
            layers, lambda hidden: self._contract(convolve(hidden), training=True), hidden
        )

    def _convolve(self, hidden: Any) -> Any:
        return hidden if self.depthwise is None else self.depthwise(hidden)

    def _contract(self, hidden: Any, training: bool = False) -> Any:
        hidden = ops.gelu(hidden, training)
        if not training:  # on PyTorch even a layer that does nothing takes 0.1 ms
            return self.project_dense(hidden)
        hidden = self.dropout_layer(hidden, training=True)
        return self.dropout_layer(self.project_dense(hidden), training=True)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape
