"""Attention through latent tokens, with which a Token Turing Machine may read and write."""

from typing import Any

import keras
from keras.ops import matmul, swapaxes

from keras_paca import ops
from keras_paca.arguments import check_positive
from keras_paca.layers.mlp import MLP
from keras_paca.layers.policies import logits_policy
from keras_paca.layers.read_write_head import ReadWriteHead, check_divisible, tokens_shape


class _ThroughLatents(ReadWriteHead):
    """y = softmax(q) softmax(k^T) v: q over the latents, k over the tokens that are read."""

    def logits(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return q (b, heads, n, latents) and k (b, heads, m, latents)."""
        raise NotImplementedError

    def gather(self, tokens: Any, queries: Any, value: Any) -> Any:
        """Return what each query reads of `value` (b, heads, m, d), in float32 or wider."""
        spread, collect = self._distributions(tokens, queries)
        return matmul(spread, matmul(collect, ops.to_float32(value)))

    def weigh(self, tokens: Any, queries: Any) -> Any:
        """Return the weight with which each query reads each token; see `ReadWriteHead`."""
        return matmul(*self._distributions(tokens, queries))

    def _distributions(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return the distributions (b, heads, n, latents) and (b, heads, latents, m)."""
        query, key = self.logits(tokens, queries)
        return ops.stable_softmax(query, -1), ops.stable_softmax(swapaxes(key, -1, -2), -1)

    def count_products(self, inputs_shape: tuple, query_shape: tuple) -> int:
        """Return the number of multiply-accumulates of a call, without those of the sub-layers."""
        batch, channels = query_shape[0], query_shape[-1]
        tokens = ops.count_patches(inputs_shape) + ops.count_patches(query_shape)
        return batch * tokens * self.latent_size * channels // self.num_heads


@keras.saving.register_keras_serializable(package="keras_paca")
class LatentAttention(_ThroughLatents):
    """Attention through latent tokens, whose logits two feed-forward networks compute.

    With q = mlp2(LayerNorm(x)) and k = mlp1(LayerNorm(z)), the output is softmax(q) softmax(k^T) z.
    The first softmax is over the latents, the second one over the tokens that are read.

    Args:
        latent_size: int. Number of latents.
        bottleneck_size: int. Width of the networks' hidden layers.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float.

    Output shape: That of `query`.

    Source: the head "la" of ViTTM's official code (Jajal et al., WACV 2025).

    Example:
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(LatentAttention(latent_size=4)(memory, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(self, latent_size: int, bottleneck_size: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_size = check_positive("latent_size", latent_size)
        self.bottleneck_size = check_positive("bottleneck_size", bottleneck_size)

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Build the norms and the networks."""
        super().build(inputs_shape, query_shape)
        sizes, exact = (self.bottleneck_size, self.latent_size), logits_policy(self.dtype_policy)
        self.norm, self.query_norm = (
            self.make(keras.layers.LayerNormalization, name, epsilon=1e-5)
            for name in ("norm", "query_norm")
        )
        self.mlp = self.make(MLP, "mlp", *sizes, dtype=exact)
        self.query_mlp = self.make(MLP, "query_mlp", *sizes, dtype=exact)
        for layer in (self.norm, self.mlp):
            layer.build(tokens_shape(inputs_shape))
        for layer in (self.query_norm, self.query_mlp):
            layer.build(tokens_shape(query_shape))

    def logits(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return q (b, 1, n, latents) and k (b, 1, m, latents)."""
        query, key = self.query_mlp(self.query_norm(queries)), self.mlp(self.norm(tokens))
        return ops.split_heads(query, 1), ops.split_heads(key, 1)

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        return ops.join_heads(self.gather(tokens, queries, ops.split_heads(tokens, 1)))


@keras.saving.register_keras_serializable(package="keras_paca")
class LatentCrossAttention(_ThroughLatents):
    """Multi-head attention through latent tokens.

    With q = LayerNorm(Wq x), k = LayerNorm(Wk z) and v = LayerNorm(Wv z), over the channels of all
    heads, the output is Wo softmax(q) softmax(k^T) v. By head, the first softmax is over the
    latents, the second one over the tokens that are read.

    Args:
        num_heads: int. Number of heads. It must divide the channels and `latent_size`.
        latent_size: int. Number of latents of all heads.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. The map that is read, (batch, height, width, channels), float.
        query: Tensor. The map whose tokens read it, (batch, rows, columns, channels), float.

    Output shape: That of `query`.

    Raises:
        ValueError: If `num_heads` doesn't divide the channels or `latent_size`.

    Source: the head "lca" of ViTTM's official code (Jajal et al., WACV 2025).

    Example:
    >>> memory, process = keras.ops.ones((1, 4, 4, 8)), keras.ops.ones((1, 2, 3, 8))
    >>> tuple(LatentCrossAttention(num_heads=2, latent_size=4)(memory, process).shape)
    (1, 2, 3, 8)
    """

    def __init__(self, num_heads: int, latent_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = check_positive("num_heads", num_heads)
        self.latent_size = check_positive("latent_size", latent_size)
        check_divisible("`latent_size`", latent_size, num_heads)

    def build(self, inputs_shape: tuple, query_shape: tuple) -> None:
        """Build the projections and their norms."""
        super().build(inputs_shape, query_shape)
        self.build_projections(inputs_shape, query_shape, self.latent_size)

    def logits(self, tokens: Any, queries: Any) -> tuple[Any, Any]:
        """Return q (b, heads, n, latents / heads) and k (b, heads, m, latents / heads)."""
        return self.project(tokens, queries)

    def read(self, tokens: Any, queries: Any, training: bool = False) -> Any:
        """Return what each query reads; see `ReadWriteHead`."""
        value = self.project_value(tokens)
        return self.output_dense(ops.join_heads(self.gather(tokens, queries, value)))
