"""Softmax attention with which a Token Turing Machine may read and write."""

from typing import Any

import keras
from keras.ops import shape

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.initializers import linear
from keras_paca.layers.read_write_head import ReadWriteHead, check_divisible, tokens_shape


@keras.saving.register_keras_serializable(package="keras_paca")
class CrossAttention(ReadWriteHead):
    """Multi-head attention from the tokens of one map to those of another, with norms.

    With q = LayerNorm(Wq x), k = LayerNorm(Wk z) and v = LayerNorm(Wv z), over the channels of all
    heads, the output is Wo softmax(q k^T / sqrt(d)) v, where each head has d channels.

    Args:
        num_heads: int. Number of heads. It must divide the channels.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float.

    Output shape: That of `query`.

    Raises:
        ValueError: If `num_heads` doesn't divide the channels.

    Source: the head "ca" of ViTTM's official code (Jajal et al., WACV 2025).

    Example:
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(CrossAttention(num_heads=2)(memory, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_positive("num_heads", num_heads)

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Build the projections and their norms."""
        channels = query_shape[-1]
        check_divisible("the channels of the input", channels, self.num_heads)
        given, reading = tokens_shape(inputs_shape), tokens_shape(query_shape)
        self.query_dense = self.make(linear, "query", channels)
        self.key_dense = self.make(linear, "key", channels)
        self.value_dense = self.make(linear, "value", channels)
        self.output_dense = self.make(linear, "attention_output", channels)
        self.query_norm, self.key_norm, self.value_norm = (
            self.make(keras.layers.LayerNormalization, f"{name}_norm", epsilon=1e-5)
            for name in ("query", "key", "value")
        )
        for layer in (self.query_dense, self.output_dense, self.query_norm):
            layer.build((*reading[:2], channels))
        for layer in (self.key_dense, self.value_dense, self.key_norm, self.value_norm):
            layer.build((*given[:2], channels))

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        value = ops.split_heads(self.value_norm(self.value_dense(tokens)), self.num_heads)
        outputs = ops.attend(*self._query_and_key(tokens, queries), value)
        return self.output_dense(ops.join_heads(outputs))

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token; see `ReadWriteHead`."""
        query, key = self._query_and_key(tokens, queries)
        scores = ops.attention_scores(query, key * shape(query)[-1] ** -0.5)
        return ops.stable_softmax(scores, axis=-1)

    def _query_and_key(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return q (b, heads, n, d) and k (b, heads, m, d)."""
        query = self.query_norm(self.query_dense(queries))
        key = self.key_norm(self.key_dense(tokens))
        return ops.split_heads(query, self.num_heads), ops.split_heads(key, self.num_heads)

    def count_products(self, inputs_shape: tuple, query_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, without those of the projections."""
        batch, channels = query_shape[0], query_shape[-1]
        pairs = ops.count_patches(inputs_shape) * ops.count_patches(query_shape)
        return 2 * batch * pairs * channels
