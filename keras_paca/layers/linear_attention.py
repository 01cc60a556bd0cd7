"""The linear attention with which ViTTM reads and writes."""

from typing import Any

import keras
from keras.ops import elu, expand_dims, matmul, swapaxes
from keras.ops import sum as total

from keras_paca import ops
from keras_paca.arguments import check_factor, check_positive
from keras_paca.layers.read_write_head import ReadWriteHead, check_divisible


@keras.saving.register_keras_serializable(package="keras_paca")
class LinearCrossAttention(ReadWriteHead):
    """Linear attention from the tokens of one map to those of another.

    With q = phi(Wq x), k = phi(Wk z), v = Wv z and phi(t) = elu(t) + 1, by head:

    y_i = q_i (sum_j k_j v_j^T) / (q_i (sum_j k_j) + 1e-6).

    Its cost grows linearly with both numbers of tokens. There is no projection of the output. The
    sums over tokens are computed in float32 under every policy.

    Args:
        num_heads: int. Number of heads. It must divide the channels and `latent_size`.
        latent_size: int. Number of channels of q and k.
        epsilon: float. Added to the denominator, not negative.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float.

    Output shape: That of `query`.

    Raises:
        ValueError: If `num_heads` doesn't divide the channels or `latent_size`, or `epsilon` is
            below 0.

    Source: Katharopoulos et al., "Transformers Are RNNs", ICML 2020, as used by ViTTM (Jajal et
    al., WACV 2025).

    Example:
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(LinearCrossAttention(num_heads=2, latent_size=4)(memory, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(
        self, num_heads: int, latent_size: int, epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_positive("num_heads", num_heads)
        self.latent_size = check_positive("latent_size", latent_size)
        self.epsilon = check_factor("epsilon", epsilon)
        check_divisible("`latent_size`", latent_size, num_heads)

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Build the projections."""
        super().build(inputs_shape, query_shape)
        self.build_projections(inputs_shape, query_shape, self.latent_size, norms=False)

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        query, key = self._features(tokens, queries)
        value = ops.to_float32(self.project_value(tokens))
        outputs = matmul(query, matmul(swapaxes(key, 2, 3), value))  # (b, heads, n, d)
        return ops.join_heads(outputs / self._divisor(query, key))

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token; see `ReadWriteHead`."""
        query, key = self._features(tokens, queries)
        return matmul(query, swapaxes(key, 2, 3)) / self._divisor(query, key)

    def _features(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return q (b, heads, n, latent / heads) and k (b, heads, m, latent / heads)."""
        query, key = self.project(tokens, queries)
        return elu(ops.to_float32(query)) + 1, elu(ops.to_float32(key)) + 1

    def _divisor(self, query: Any, key: Any) -> Any:
        """Return the denominators (b, heads, n, 1)."""
        return matmul(query, expand_dims(total(key, axis=2), -1)) + self.epsilon

    def count_products(self, inputs_shape: tuple, query_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, without those of the projections."""
        batch, channels = query_shape[0], query_shape[-1]
        read, reading = ops.count_patches(inputs_shape), ops.count_patches(query_shape)
        products = (read + reading) * channels // self.num_heads + reading  # the denominators
        return batch * products * self.latent_size
