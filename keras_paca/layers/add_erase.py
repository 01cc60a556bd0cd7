"""The gate with which a Token Turing Machine may add to tokens and erase them."""

from typing import Any

import keras
from keras.ops import cast, expand_dims, mean, sigmoid

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.initializers import linear
from keras_paca.layers.token_learner import check_tokens


@keras.saving.register_keras_serializable(package="keras_paca")
class AddErase(BaseLayer):
    """Mix what was read or written into tokens, each with a gate of its own.

    With x, the tokens, and r, what was read for each: y = (1 - g) x + g r, where g = sigmoid(W
    mean(r) + b) has one number per token. So the size of the maps is fixed.

    Args:
        tokens: int. Number of tokens of the maps.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. What was read or written, (batch, height, width, channels), float.
        target: Tensor. The tokens, of the same shape.

    Output shape: The same.

    Raises:
        ValueError: If the maps have another number of tokens.

    Source: the fusion "add_erase" of ViTTM's official code (Jajal et al., WACV 2025).

    Example:
    >>> read, process = keras.ops.ones((1, 2, 3, 8)), keras.ops.zeros((1, 2, 3, 8))
    >>> tuple(AddErase(tokens=6)(read, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(self, tokens: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens = check_positive("tokens", tokens)

    def build(self, inputs_shape: tuple, target_shape: tuple) -> None:
        """Build the projection."""
        check_tokens(self.tokens, target_shape)
        self.gate_dense = self.make(linear, "gate", self.tokens)
        self.gate_dense.build((inputs_shape[0], inputs_shape[-1]))

    def call(self, inputs: Any, target: Any) -> Any:
        """Mix the map `inputs` into the map `target`."""
        check_tokens(self.tokens, target.shape)
        read, tokens = ops.flatten_map(inputs), ops.flatten_map(target)
        summary = mean(ops.to_float32(read), axis=1)  # (b, c)
        gate = sigmoid(self.gate_dense(cast(summary, self.compute_dtype)))
        gate = expand_dims(gate, -1)  # (b, tokens, 1)
        return ops.unflatten_patches(tokens * (1 - gate) + read * gate, like=target)

    def compute_output_shape(self, inputs_shape: tuple, target_shape: tuple) -> tuple:
        """Return `target_shape`."""
        return target_shape
