"""Softmax attention with which a Token Turing Machine may read and write."""

from typing import Any

import keras
from keras.ops import shape

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.read_write_head import ReadWriteHead


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
        super().build(inputs_shape, query_shape)
        self.build_projections(inputs_shape, query_shape, query_shape[-1])

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        outputs = ops.attend(*self.project(tokens, queries), self.project_value(tokens))
        return self.output_dense(ops.join_heads(outputs))

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token; see `ReadWriteHead`."""
        query, key = self.project(tokens, queries)
        scores = ops.attention_scores(query, key * shape(query)[-1] ** -0.5)
        return ops.stable_softmax(scores, axis=-1)

    def count_products(self, inputs_shape: tuple, query_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, without those of the projections."""
        batch, channels = query_shape[0], query_shape[-1]
        pairs = ops.count_patches(inputs_shape) * ops.count_patches(query_shape)
        return 2 * batch * pairs * channels
