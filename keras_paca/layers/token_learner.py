"""TokenLearner, with which a Token Turing Machine may read and write."""

from typing import Any

import keras
from keras.ops import concatenate, expand_dims, matmul, swapaxes

from keras_paca import ops
from keras_paca.arguments import check_positive, check_rate
from keras_paca.layers.mlp import MLP
from keras_paca.layers.policies import logits_policy
from keras_paca.layers.read_write_head import ReadWriteHead, tokens_shape


@keras.saving.register_keras_serializable(package="keras_paca")
class TokenLearner(ReadWriteHead):
    """Summaries of all tokens, as many as there are tokens that read.

    With z, the tokens of both maps side by side, the output is softmax(mlp(LayerNorm(z))^T) z. The
    softmax is over the tokens. The network has one output for each token that reads, so the size of
    the map `query` is fixed.

    Args:
        tokens: int. Number of tokens of the map `query`.
        bottleneck_size: int. Width of the network's hidden layer, by default `tokens`.
        dropout: float. Rate of dropout inside the network, in [0, 1).
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float, with
            rows x columns = `tokens`.

    Output shape: That of `query`.

    Raises:
        ValueError: If an argument is out of its range, or `query` has another number of tokens.

    Source: Ryoo et al., "TokenLearner", NeurIPS 2021, as the head "tl" of ViTTM's official code.

    Example:
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(TokenLearner(tokens=6)(memory, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(
        self,
        tokens: int,
        bottleneck_size: int | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokens = check_positive("tokens", tokens)
        self.bottleneck_size = check_positive("bottleneck_size", bottleneck_size or tokens)
        self.dropout = check_rate("dropout", dropout)

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Build the norm and the network."""
        super().build(inputs_shape, query_shape)
        check_tokens(self.tokens, query_shape)
        shape = (query_shape[0], None, query_shape[-1])
        self.norm = self.make(keras.layers.LayerNormalization, "norm", epsilon=1e-5)
        self.mlp = self.make(
            MLP,
            "mlp",
            self.bottleneck_size,
            self.tokens,
            dropout=self.dropout,
            dtype=logits_policy(self.dtype_policy),
        )
        self.norm.build(shape)
        self.mlp.build(shape)

    def call(self, inputs: Any, query: Any, training: bool = False) -> Any:
        """Return the summaries of the maps `inputs` and `query` as a map like `query`."""
        check_tokens(self.tokens, query.shape)
        return super().call(inputs, query, training)

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        every = concatenate([tokens, queries], axis=1)
        return matmul(self._distribution(every, training), ops.to_float32(every))

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token; see `ReadWriteHead`.

        The weights of the tokens that read are left out, so that the others don't sum to 1.
        """
        every = concatenate([tokens, queries], axis=1)
        return expand_dims(self._distribution(every)[:, :, : -self.tokens], 1)

    def _distribution(self, every: Any, training: bool = False) -> Any:
        """Return the weights (b, n, m + n) of all tokens."""
        logits = self.mlp(self.norm(every), training=training)
        return ops.stable_softmax(swapaxes(logits, 1, 2), axis=-1)

    def count_products(self, inputs_shape: tuple, query_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, those of the network included."""
        batch, _, channels = tokens_shape(query_shape)
        every = ops.count_patches(inputs_shape) + self.tokens
        return batch * every * self.tokens * channels


def check_tokens(tokens: int, map_shape: tuple) -> None:
    """Check that a map has the number of tokens that a layer was made for.

    Args:
        tokens: int. That number.
        map_shape: tuple. (batch, height, width, channels). Unknown sides aren't checked.

    Raises:
        ValueError: If it has another number.

    Example:
    >>> check_tokens(6, (None, 2, 3, 8))
    """
    found = ops.count_patches(tuple(map_shape))
    if found not in (None, tokens):
        raise ValueError(
            f"This layer was made for maps of {tokens} tokens, and so for one image size. "
            f"Received: a map of shape {tuple(map_shape)}"
        )
