"""Attention from patches to clusters."""

import functools
import math
from typing import Any

import keras
from keras import ops

from keras_paca.layers.composite import Composite
from keras_paca.layers.folding import UNCHANGED, Affine, affine_of, fold_projection, folded, read
from keras_paca.layers.initializers import linear, linear_initializer
from keras_paca.layers.maps import count_patches, flatten_map, unflatten_patches
from keras_paca.layers.recompute import recompute
from keras_paca.layers.softmax import attention_scores, stable_softmax


@keras.saving.register_keras_serializable(package="keras_paca")
class PatchToClusterAttention(Composite):
    """Multi-head attention whose queries are patches and whose keys and values are clusters.

    z = LayerNorm(A^T x) are the clusters, A the assignment of patches to them, and with
    q = Wq x, k = Wk z, v = Wv z the output is Wo softmax(q k^T / sqrt(d)) v, d channels per head.
    The cost grows linearly with the number of patches. Without an assignment z = x, not normed:
    plain self-attention, whose cost grows with its square.

    Args:
        num_heads: number of heads; divides the channels.
        cluster_norm: whether the clusters are layer-normed.
        cluster_position_embedding: whether a learned vector is added to each cluster.
        attention_dropout: rate on the attention weights.
        dropout: rate on the output.
        fused: whether the layer has the form for inference that `keras_paca.fuse` makes: the norm
            of the clusters has no scale and centre, which the keys and values hold, and these have
            no bias: the softmax drops the keys', and the output holds the values'.

    Call arguments:
        inputs: map (batch, height, width, channels), float.
        assignment: (batch, height x width, clusters), each cluster summing to 1 over the patches;
            it keeps its type whatever the policy (in float16 most of a large image's entries
            would fall below the normal range). `None` for plain attention.

    Output shape: (batch, height, width, channels).

    Raises:
        ValueError: if `num_heads` does not divide the channels, or if the layer was built with an
            assignment and is called without, or the reverse.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), section 3.
    """

    def __init__(
        self,
        num_heads: int,
        cluster_norm: bool = True,
        cluster_position_embedding: bool = False,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        fused: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # the assignment keeps its float32
        self.num_heads = num_heads
        self.cluster_norm = cluster_norm
        self.cluster_position_embedding = cluster_position_embedding
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.fused = fused

    def build(self, inputs_shape: tuple, assignment_shape: tuple | None = None) -> None:
        """Build the projections, and what the clusters need."""
        channels = inputs_shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the channels of the input. "
                f"Received: num_heads={self.num_heads} and inputs of shape {inputs_shape}"
            )
        patches = count_patches(inputs_shape)
        rows = None if assignment_shape is None else assignment_shape[1]
        if rows is not None and patches is not None and rows != patches:
            raise ValueError(
                "`assignment` must have one row per patch of the map. "
                f"Received: inputs of shape {inputs_shape}, assignment of {assignment_shape}"
            )
        self.clusters = None if assignment_shape is None else assignment_shape[-1]
        self.cluster_norm_layer = self.cluster_embedding = None
        if self.clusters is None:
            source_shape = (inputs_shape[0], None, channels)
        else:
            source_shape = (inputs_shape[0], self.clusters, channels)
            if self.cluster_position_embedding:
                self.cluster_embedding = self.add_weight(
                    name="cluster_embedding",
                    shape=(self.clusters, channels),
                    initializer=linear_initializer(),
                )
            if self.cluster_norm:
                self.cluster_norm_layer = keras.layers.LayerNormalization(
                    epsilon=1e-6,
                    center=not self.fused,
                    scale=not self.fused,
                    dtype=self.dtype_policy,
                    name="cluster_norm",
                )
                self.cluster_norm_layer.build(source_shape)
        bias = {"use_bias": not self.fused}
        self.query_dense = linear(channels, **self.inner("query"))
        self.key_dense = linear(channels, **bias, **self.inner("key"))
        self.value_dense = linear(channels, **bias, **self.inner("value"))
        self.output_dense = linear(channels, **self.inner("attention_output"))
        self.query_dense.build((inputs_shape[0], None, channels))
        self.key_dense.build(source_shape)
        self.value_dense.build(source_shape)
        self.output_dense.build((inputs_shape[0], None, channels))
        self.attention_dropout_layer = keras.layers.Dropout(
            self.attention_dropout, dtype=self.dtype_policy
        )
        self.dropout_layer = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def call(self, inputs: Any, assignment: Any = None, training: bool = False) -> Any:
        """Attend from the patches of `inputs` to the clusters of `assignment`."""
        if (assignment is None) != (self.clusters is None):
            raise ValueError(
                f"This layer was built {'without' if self.clusters is None else 'with'} an "
                f"assignment. Received: assignment={assignment}"
            )
        patches = ops.cast(flatten_map(inputs), self.compute_dtype)  # (b, n, c)
        source = patches if assignment is None else self._aggregate(patches, assignment)
        query = self._split_heads(self.query_dense(patches))  # (b, heads, n, d)
        key = self._split_heads(self.key_dense(source))  # (b, heads, m, d)
        value = self._split_heads(self.value_dense(source))  # (b, heads, m, d)

        outputs = self._attend(query, key, value, training)  # (b, heads, n, d)
        outputs = ops.reshape(ops.transpose(outputs, (0, 2, 1, 3)), ops.shape(patches))
        outputs = self.output_dense(outputs)
        if training:
            outputs = self.dropout_layer(outputs, training=True)
        return unflatten_patches(outputs, like=inputs)

    def _aggregate(self, patches: Any, assignment: Any) -> Any:
        """Return the clusters (b, m, c): sums over many patches, hence in the assignment's type."""
        patches = ops.cast(patches, assignment.dtype)
        clusters = ops.matmul(ops.transpose(assignment, (0, 2, 1)), patches)
        if self.cluster_embedding is not None:
            clusters = clusters + ops.cast(self.cluster_embedding, clusters.dtype)
        if self.cluster_norm_layer is not None:
            clusters = self.cluster_norm_layer(clusters)
        return ops.cast(clusters, self.compute_dtype)

    def _attend(self, query: Any, key: Any, value: Any, training: bool) -> Any:
        """Return softmax(q k^T / sqrt(d)) v, with dropout on the weights where training."""
        if keras.backend.backend() == "torch" and not (training and self.attention_dropout):
            from torch.nn import functional

            return functional.scaled_dot_product_attention(query, key, value)  # keeps no weights
        if training:
            layers = [self.attention_dropout_layer]
            return recompute(
                layers, functools.partial(self._weigh, training=True), query, key, value
            )
        return self._weigh(query, key, value)

    def _weigh(self, query: Any, key: Any, value: Any, training: bool = False) -> Any:
        scores = attention_scores(query, key * query.shape[-1] ** -0.5)
        weights = ops.cast(stable_softmax(scores, axis=-1), self.compute_dtype)
        weights = self.attention_dropout_layer(weights, training=training)  # (b, heads, n, m)
        return ops.matmul(weights, value)

    def _split_heads(self, tokens: Any) -> Any:
        """Return (b, tokens, c) as (b, heads, tokens, d)."""
        batch, count, channels = ops.shape(tokens)
        tokens = ops.reshape(tokens, (batch, count, self.num_heads, channels // self.num_heads))
        return ops.transpose(tokens, (0, 2, 1, 3))

    def fold(
        self,
        source: "PatchToClusterAttention",
        before: Affine = UNCHANGED,
        after: Affine = UNCHANGED,
    ) -> None:
        """Take the weights of an unfused layer, with what stands before and after it.

        Args:
            source: the unfused layer.
            before: of the patches; with clusters, whose sources they are, there must be nothing.
            after: of the output.
        """
        of_clusters = before if self.clusters is None else affine_of(source.cluster_norm_layer)
        if self.cluster_embedding is not None:
            self.cluster_embedding.assign(read(source.cluster_embedding))
        fold_projection(self.query_dense, source.query_dense, before)
        fold_projection(self.key_dense, source.key_dense, of_clusters)
        fold_projection(self.value_dense, source.value_dense, of_clusters)
        # the weights of the values sum to 1, so their bias arrives at the output as it is
        _, bias = folded(source.value_dense, of_clusters)
        fold_projection(self.output_dense, source.output_dense, Affine(centre=bias), after)

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
        """Return the multiply-accumulates of a call beside those of the projections."""
        size = math.prod(inputs_shape)
        if assignment_shape is None:
            return 2 * size * math.prod(inputs_shape[1:3])
        return 3 * size * assignment_shape[-1]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "cluster_norm": self.cluster_norm,
            "cluster_position_embedding": self.cluster_position_embedding,
            "attention_dropout": self.attention_dropout,
            "dropout": self.dropout,
            "fused": self.fused,
        }
