"""Linear angular attention that is called as Keras's multi-head attention is."""

from typing import Any

import keras

from keras_paca.layers.angular_attention import LinearAngularAttention


@keras.saving.register_keras_serializable(package="keras_paca")
class AngularSelfAttention(LinearAngularAttention):
    """`LinearAngularAttention` in place of a `keras.layers.MultiHeadAttention` on one input.

    It is called with the same arguments, of which the query, the key and the value must be the same
    tensor. There are no attention weights, so that these can neither be masked nor returned.

    Args:
        num_heads: int. Number of heads. It must divide the channels.
        key_dim: int or None. Number of channels of each head. If it is given, the input must have
            `num_heads * key_dim` channels.
        **kwargs: As for `LinearAngularAttention`.

    Call arguments:
        query: Tensor. Tokens (batch, tokens, channels) or a map (batch, height, width, channels),
            float.
        value: Tensor or None. The same tensor.
        key: Tensor or None. The same tensor.

    Output shape: That of `query`.

    Raises:
        ValueError: As for `LinearAngularAttention`; if `num_heads * key_dim` isn't the number of
            channels; or if a call has another value or key, a mask, `use_causal_mask` or
            `return_attention_scores`.

    Example:
    >>> x = keras.ops.ones((1, 9, 8))
    >>> tuple(AngularSelfAttention(num_heads=2, key_dim=4)(x, x).shape)
    (1, 9, 8)
    """

    def __init__(self, num_heads: int, key_dim: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_heads, **kwargs)
        self.key_dim = key_dim

    def __call__(self, query: Any, value: Any = None, key: Any = None, **options: Any) -> Any:
        """Check the arguments of a call, which Keras may convert before `call` sees them."""
        training = options.pop("training", None)  # `None` hides that of the layers around
        given = {} if training is None else {"training": training}
        if any(other is not None and other is not query for other in (value, key)):
            raise ValueError(
                f"{self.name!r} is self-attention: `value` and `key` must be the same tensor as "
                f"`query`. Received: query={query}, value={value}, key={key}"
            )
        asked = [name for name, x in options.items() if x is not None and x is not False]
        if getattr(query, "_keras_mask", None) is not None:
            asked.append("the mask of the query")
        if asked:
            raise ValueError(
                f"{self.name!r} computes no attention weights: they can neither be masked nor "
                f"returned. Received: {', '.join(asked)}"
            )
        return super().__call__(query, **given)

    def build(self, query_shape: tuple, *others: tuple, **more: tuple) -> None:
        """Build the sub-layers for inputs of the shape of the query."""
        if self.key_dim is not None and self.num_heads * self.key_dim != query_shape[-1]:
            raise ValueError(
                "`num_heads * key_dim` must be the number of channels. Received: num_heads="
                f"{self.num_heads}, key_dim={self.key_dim} and an input of shape {query_shape}"
            )
        super().build(query_shape)

    def call(self, query: Any, training: bool = False) -> Any:
        """Attend from each token of `query` to all of them."""
        return super().call(query, training=training)

    def compute_output_shape(self, query_shape: tuple, *others: tuple, **more: tuple) -> tuple:
        """Return `query_shape`."""
        return query_shape
