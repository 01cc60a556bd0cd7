"""Feed-forward networks of two projections."""

from typing import Any

import keras

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import linear


@keras.saving.register_keras_serializable(package="keras_paca")
class MLP(BaseLayer):
    """Feed-forward network: y = W2 GELU(W1 x + b1) + b2.

    Args:
        hidden_units: int. Width of the hidden layer.
        units: int. Number of channels of the output.
        dropout: float. Rate of dropout after the activation and after the output.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (..., channels), float.
    Output shape: (..., units).

    Example:
    >>> tuple(MLP(16, 4)(keras.ops.ones((1, 35, 8))).shape)
    (1, 35, 4)
    """

    def __init__(self, hidden_units: int, units: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_units = check_positive("hidden_units", hidden_units)
        self.units = check_positive("units", units)
        self.dropout = dropout
        self.dropout_layer = self.make(keras.layers.Dropout, "dropout", dropout)

    def build(self, input_shape: tuple) -> None:
        """Build the projections."""
        self.expand_dense = self.make(linear, "expand", self.hidden_units)
        self.project_dense = self.make(linear, "project", self.units)
        self.expand_dense.build(input_shape)
        self.project_dense.build((*input_shape[:-1], self.hidden_units))

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the network to the last axis of `inputs`."""
        hidden = ops.gelu(self.expand_dense(inputs), training)
        if not training:
            return self.project_dense(hidden)
        outputs = self.project_dense(self.dropout_layer(hidden, training=True))
        return self.dropout_layer(outputs, training=True)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (..., units)."""
        return (*input_shape[:-1], self.units)


@keras.saving.register_keras_serializable(package="keras_paca")
class ResidualMLP(BaseLayer):
    """Feed-forward network with a norm and a shortcut: y = x + mlp(LayerNorm(x)).

    Args:
        mlp_ratio: float. Width of the hidden layer, as a multiple of the channels.
        dropout: float. Rate of dropout inside the network.
        **kwargs: As for `keras.layers.Layer`.

    Input shape: (..., channels), float.
    Output shape: The same.

    Source: the memory block "mlp" of ViTTM's official code (Jajal et al., WACV 2025).

    Example:
    >>> tuple(ResidualMLP()(keras.ops.ones((1, 5, 7, 8))).shape)
    (1, 5, 7, 8)
    """

    def __init__(self, mlp_ratio: float = 0.5, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlp_ratio = mlp_ratio
        self.dropout = dropout

    def build(self, input_shape: tuple) -> None:
        """Build the norm and the network."""
        channels = input_shape[-1]
        self.norm = self.make(keras.layers.LayerNormalization, "norm", epsilon=1e-5)
        self.mlp = self.make(
            MLP, "mlp", int(channels * self.mlp_ratio), channels, dropout=self.dropout
        )
        self.norm.build(input_shape)
        self.mlp.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the network to the last axis of `inputs`."""
        return inputs + self.mlp(self.norm(inputs), training=training)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return `input_shape`."""
        return input_shape
