"""Attention from patches to clusters."""

import math
from typing import Any

import keras
from keras.ops import cast, matmul, transpose

from keras_paca import ops
from keras_paca.arguments import check_choice
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.dense import Dense
from keras_paca.layers.initializers import HostUniform, linear, linear_initializer

INITIAL = ("normal", "joint_glorot")


@keras.saving.register_keras_serializable(package="keras_paca")
class PatchToClusterAttention(BaseLayer):
    """Multi-head attention whose queries are patches and whose keys and values are clusters.

    With the assignment A of patches to clusters, the clusters are z = LayerNorm(A^T x). With
    q = Wq x, k = Wk z, v = Wv z, the output is Wo softmax(q k^T / sqrt(d)) v, where each head has d
    channels. The cost grows linearly with the number of patches. Without an assignment, z = x
    without a norm. This is plain self-attention, whose cost grows with the square of that number.
    With `qk_norm`, layer normalization is applied to the q and k of each head.

    Args:
        num_heads: int. Number of heads. It must divide the channels.
        cluster_norm: bool. Whether layer normalization is applied to the clusters.
        cluster_position_embedding: bool. Whether a learned vector is added to each cluster.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout on the output.
        recompute_activations: bool. Whether training computes the attention weights again in the
            backward pass instead of keeping them in memory.
        initial: str. Initial kernels of the queries, keys and values: "normal" for N(0, 0.02), or
            "joint_glorot" for Glorot's uniform distribution of the three as one projection, as
            PyTorch's `MultiheadAttention` has them.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        qk_norm: bool. Whether the queries and the keys are normalized.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. Map of shape (batch, height, width, channels), float.
        assignment: Tensor or None. Shape (batch, height x width, clusters). Each cluster sums to 1
            over the patches. `None` means plain attention. The assignment keeps its dtype under
            every policy, because in float16 most entries for a large image would be subnormal.

    Output shape: (batch, height, width, channels).

    Raises:
        ValueError: If `initial` is another value, if `num_heads` does not divide the channels, or
            if the layer was built with an assignment and is called without one, or vice versa.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), section 3.

    Example:
    >>> from keras_paca.layers import ConvClustering
    >>> x = keras.ops.ones((1, 5, 7, 8))
    >>> tuple(PatchToClusterAttention(num_heads=2)(x, ConvClustering(3)(x)).shape)
    (1, 5, 7, 8)
    """

    def __init__(
        self,
        num_heads: int,
        cluster_norm: bool = True,
        cluster_position_embedding: bool = False,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        recompute_activations: bool = True,
        initial: str = "normal",
        qkv_bias: bool = True,
        qk_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # the assignment keeps its float32
        self.num_heads = num_heads
        self.cluster_norm = cluster_norm
        self.cluster_position_embedding = cluster_position_embedding
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.recompute_activations = recompute_activations
        self.initial = check_choice("initial", initial, INITIAL)
        self.qkv_bias, self.qk_norm = qkv_bias, qk_norm

    def build(self, inputs_shape: tuple, assignment_shape: tuple | None = None) -> None:
        """Build the projections, the norm of the clusters and their embedding."""
        channels = inputs_shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the channels of the input. "
                f"Received: num_heads={self.num_heads} and inputs of shape {inputs_shape}"
            )
        patches = ops.count_patches(inputs_shape)
        rows = None if assignment_shape is None else assignment_shape[1]
        if rows is not None and patches is not None and rows != patches:
            raise ValueError(
                "`assignment` must have one row per patch of the map. "
                f"Received: inputs of shape {inputs_shape}, assignment of {assignment_shape}"
            )
        self.clusters = None if assignment_shape is None else assignment_shape[-1]
        patches_shape = (inputs_shape[0], None, channels)
        source_shape = (inputs_shape[0], self.clusters, channels)
        self.cluster_norm_layer = self.cluster_embedding = None
        if self.clusters is not None and self.cluster_position_embedding:
            self.cluster_embedding = self.add_weight(
                name="cluster_embedding",
                shape=(self.clusters, channels),
                initializer=linear_initializer(),
            )
        if self.clusters is not None and self.cluster_norm:
            self.cluster_norm_layer = self.make(
                keras.layers.LayerNormalization, "cluster_norm", epsilon=1e-6
            )
            self.cluster_norm_layer.build(source_shape)
        self.query_dense = self._projection("query", channels)
        self.key_dense = self._projection("key", channels)
        self.value_dense = self._projection("value", channels)
        self.output_dense = self.make(linear, "attention_output", channels)
        self.query_dense.build(patches_shape)
        self.key_dense.build(source_shape)
        self.value_dense.build(source_shape)
        self.output_dense.build(patches_shape)
        self.query_norm = self.key_norm = None
        if self.qk_norm:
            norm, head_shape = keras.layers.LayerNormalization, (None, channels // self.num_heads)
            self.query_norm, self.key_norm = (
                self.make(norm, f"{name}_norm", epsilon=1e-6) for name in ("query", "key")
            )
            self.query_norm.build(head_shape)
            self.key_norm.build(head_shape)
        self.attention_dropout_layer = self.make(
            keras.layers.Dropout, "attention_dropout", self.attention_dropout
        )
        self.dropout_layer = self.make(keras.layers.Dropout, "dropout", self.dropout)

    def _projection(self, name: str, channels: int) -> keras.layers.Layer:
        if self.initial == "normal":
            return self.make(linear, name, channels, use_bias=self.qkv_bias)
        limit = math.sqrt(6 / (channels + 3 * channels))
        options = {"kernel_initializer": HostUniform(limit), "use_bias": self.qkv_bias}
        return self.make(Dense, name, channels, **options)

    def call(self, inputs: Any, assignment: Any = None, training: bool = False) -> Any:
        """Attend from the patches of `inputs` to the clusters of `assignment`."""
        if (assignment is None) != (self.clusters is None):
            raise ValueError(
                f"This layer was built {'without' if self.clusters is None else 'with'} an "
                f"assignment. Received: assignment={assignment}"
            )
        patches = cast(ops.flatten_map(inputs), self.compute_dtype)  # (b, n, c)
        source = patches if assignment is None else self._aggregate(patches, assignment)
        query = ops.split_heads(self.query_dense(patches), self.num_heads)  # (b, heads, n, d)
        key = ops.split_heads(self.key_dense(source), self.num_heads)  # (b, heads, m, d)
        value = ops.split_heads(self.value_dense(source), self.num_heads)  # (b, heads, m, d)
        if self.query_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)

        drops = training and self.attention_dropout
        outputs = ops.attend(  # (b, heads, n, d)
            query,
            key,
            value,
            dropout=self.attention_dropout_layer if drops else None,
            recompute_weights=training and self.recompute_activations,
        )
        outputs = self.output_dense(ops.join_heads(outputs))  # (b, n, c)
        if training:
            outputs = self.dropout_layer(outputs, training=True)
        return ops.unflatten_patches(outputs, like=inputs)

    def _aggregate(self, patches: Any, assignment: Any) -> Any:
        """Return the clusters (b, m, c)."""
        patches = cast(patches, assignment.dtype)  # the sums over many patches need float32
        clusters = matmul(transpose(assignment, (0, 2, 1)), patches)
        if self.cluster_embedding is not None:
            clusters = clusters + cast(self.cluster_embedding, clusters.dtype)
        if self.cluster_norm_layer is not None:
            clusters = self.cluster_norm_layer(clusters)
        return cast(clusters, self.compute_dtype)

    def compute_output_shape(
        self, inputs_shape: tuple, assignment_shape: tuple | None = None
    ) -> tuple:
        """Return `inputs_shape`."""
        return inputs_shape

    def compute_output_spec(
        self, inputs: Any, assignment: Any = None, training: bool = False
    ) -> keras.KerasTensor:
        """Return the symbolic map."""
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def count_products(self, inputs_shape: tuple, assignment_shape: tuple | None = None) -> int:
        """Return the number of multiply-accumulates of a call, without those of the projections."""
        size = math.prod(inputs_shape)
        if assignment_shape is None:
            return 2 * size * math.prod(inputs_shape[1:3])
        return 3 * size * assignment_shape[-1]
