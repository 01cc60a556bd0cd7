"""One block of PaCa-ViT: attention to clusters, then the feed-forward network."""

import functools
from typing import Any

import keras
from keras.ops import cast, convert_to_tensor, expand_dims, shape

from keras_paca import ops
from keras_paca.layers.angular_attention import LinearAngularAttention
from keras_paca.layers.attention import PatchToClusterAttention
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.clustering import assignment_spec
from keras_paca.layers.conv_mlp import ConvMLP
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.initializers import linear_initializer

OF_CASTLING = ("auxiliary", "threshold", "kernel_size", "convolution", "prefix_tokens")


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaBlock(BaseLayer):
    """Transformer block with patch-to-cluster attention.

    x = x + DropPath(g1 norm1_after(attention(norm1_before(x), A)))
    x = x + DropPath(g2 norm2_after(mlp(norm2_before(x))))

    The assignment A is clustering(norm1_before(x)), or the one that the block is called with. By
    default, a block has the norms before the branches; with `post_norm`, it has those after them,
    and with `sub_norm`, it has both.

    Args:
        num_heads: int. Number of attention heads. It must divide the channels.
        clustering: keras.layers.Layer. It computes an assignment of patches to clusters from a
            map, such as `ConvClustering(100)`. With `None`, the block uses the assignment that it
            is called with, and plain attention if there is none.
        mlp_ratio: float. Width of the feed-forward network's hidden layer, as a multiple of the
            channels.
        drop_path_rate: float. Rate at which both residual branches are dropped.
        attention_dropout: float. Rate of dropout on the attention weights.
        dropout: float. Rate of dropout after projections.
        layer_scale: float. Initial value of the learned channel scales g1 and g2, or `None` for a
            block without them.
        post_norm: bool. Whether the outputs of the branches are normalized instead of their inputs.
        sub_norm: bool. Whether both the inputs and the outputs of the branches are normalized.
        position_embedding_size: (int, int). Height and width in patches of a learned position
            embedding, which is added to the input and resized for maps of other sizes, or `None`.
        cluster_position_embedding: bool. Whether a learned vector is added to each cluster.
        cluster_norm: bool. Whether layer normalization is applied to the clusters.
        dwconv_in_mlp: bool. Whether the feed-forward network has a depthwise convolution.
        shortcut_in_mlp: bool. Whether that convolution has a shortcut.
        epsilon: float. Added to the variance in the norms.
        attention_initial: str. Initial kernels of the attention, "normal" or "joint_glorot"; see
            `keras_paca.layers.PatchToClusterAttention`.
        remat: bool. Whether training keeps only the inputs of the block in memory and computes the
            block again in the backward pass. This takes less memory and more time; the gradients
            are the same.
        recompute_activations: bool. Whether training computes the attention weights and the
            activations of the feed-forward network again in the backward pass, if that pays on the
            backend; see `keras_paca.ops.is_recomputed`.
        qkv_bias: bool. Whether the projections to queries, keys and values have biases.
        qk_norm: bool. Whether layer normalization is applied to the queries and keys of each head.
        castling: dict. Options of a `keras_paca.layers.LinearAngularAttention`, such as
            {"threshold": 0.02}, which takes the place of the attention to clusters; or `None`. Such
            a block has no assignment.
        **kwargs: As for `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor. Map of shape (batch, height, width, channels), float. With `castling`, it
            may also be tokens (batch, tokens, channels), if `dwconv_in_mlp` is False.
        assignment: Tensor or None. Shape (batch, height x width, clusters).
        like: Tensor or None. A map with the rows and columns of tokens that a `castling` with
            "convolution": "grid" needs.

    Output: The map or the tokens. If there is an assignment, the pair (map, assignment).

    Raises:
        ValueError: If there is `castling`, and clusters, `attention_dropout` or `qk_norm` too.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), figure 2, and the options of the official code.

    Example:
    >>> from keras_paca.layers import ConvClustering
    >>> x = keras.ops.ones((1, 5, 7, 8))
    >>> x, assignment = PaCaBlock(num_heads=2, clustering=ConvClustering(3))(x)
    >>> x, assignment = PaCaBlock(num_heads=2)(x, assignment)
    >>> tuple(x.shape), tuple(assignment.shape)
    ((1, 5, 7, 8), (1, 35, 3))
    """

    def __init__(
        self,
        num_heads: int,
        clustering: keras.layers.Layer | None = None,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        layer_scale: float | None = None,
        post_norm: bool = False,
        sub_norm: bool = False,
        position_embedding_size: tuple[int, int] | None = None,
        cluster_position_embedding: bool = False,
        cluster_norm: bool = True,
        dwconv_in_mlp: bool = True,
        shortcut_in_mlp: bool = True,
        epsilon: float = 1e-6,
        attention_initial: str = "normal",
        remat: bool = False,
        recompute_activations: bool = True,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        castling: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # the assignment keeps its float32
        self.num_heads = num_heads
        self.clustering = clustering
        self.mlp_ratio = mlp_ratio
        self.drop_path_rate = drop_path_rate
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.layer_scale = layer_scale
        self.post_norm = post_norm
        self.sub_norm = sub_norm
        self.position_embedding_size = position_embedding_size
        self.cluster_position_embedding = cluster_position_embedding
        self.cluster_norm = cluster_norm
        self.dwconv_in_mlp = dwconv_in_mlp
        self.shortcut_in_mlp = shortcut_in_mlp
        self.epsilon = epsilon
        self.attention_initial = attention_initial
        self.remat = remat
        self.recompute_activations = recompute_activations
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm

        norms_before, norms_after = sub_norm or not post_norm, sub_norm or post_norm
        self.position_dropout = self.make(keras.layers.Dropout, "position_dropout", dropout)
        self.norm1_before = self._norm("norm1_before") if norms_before else None
        self.attention = self._make_attention(castling)
        self.norm1_after = self._norm("norm1_after") if norms_after else None
        self.drop_path1 = self.make(DropPath, "drop_path1", drop_path_rate)
        self.norm2_before = self._norm("norm2_before") if norms_before else None
        self.mlp = self.make(
            ConvMLP,
            "mlp",
            mlp_ratio,
            dwconv=dwconv_in_mlp,
            shortcut=shortcut_in_mlp,
            dropout=dropout,
            recompute_activations=recompute_activations,
        )
        self.norm2_after = self._norm("norm2_after") if norms_after else None
        self.drop_path2 = self.make(DropPath, "drop_path2", drop_path_rate)

    def _make_attention(self, castling: dict | None) -> keras.layers.Layer:
        options = {"dropout": self.dropout, "qkv_bias": self.qkv_bias}
        if castling is not None:
            if self.clustering is not None or self.attention_dropout or self.qk_norm:
                raise ValueError(
                    "`castling` excludes `clustering`, `attention_dropout` and `qk_norm`. "
                    f"Received: castling={castling}, clustering={self.clustering}, "
                    f"attention_dropout={self.attention_dropout}, qk_norm={self.qk_norm}"
                )
            options |= castling
            return self.make(LinearAngularAttention, "attention", self.num_heads, **options)
        return self.make(
            PatchToClusterAttention,
            "attention",
            self.num_heads,
            cluster_norm=self.cluster_norm,
            cluster_position_embedding=self.cluster_position_embedding,
            attention_dropout=self.attention_dropout,
            recompute_activations=self.recompute_activations,
            initial=self.attention_initial,
            qk_norm=self.qk_norm,
            **options,
        )

    @property
    def is_castling(self) -> bool:
        """Whether the attention is a `LinearAngularAttention`."""
        return isinstance(self.attention, LinearAngularAttention)

    @property
    def castling(self) -> dict | None:
        """The options of the castling attention as they are now, or `None`."""
        if not self.is_castling:
            return None
        return {name: getattr(self.attention, name) for name in OF_CASTLING}

    def _norm(self, name: str) -> keras.layers.Layer:
        return self.make(keras.layers.LayerNormalization, name, epsilon=self.epsilon)

    def build(
        self,
        inputs_shape: tuple,
        assignment_shape: tuple | None = None,
        like_shape: tuple | None = None,
    ) -> None:
        """Build the sub-layers."""
        channels = inputs_shape[-1]
        self.position_embedding = None
        if self.position_embedding_size is not None:
            self.position_embedding = self.add_weight(
                name="position_embedding",
                shape=(*self.position_embedding_size, channels),
                initializer=linear_initializer(),
            )
        self.scale1 = self.scale2 = None
        if self.layer_scale is not None:
            initial = keras.initializers.Constant(self.layer_scale)
            self.scale1 = self.add_weight(name="scale1", shape=(channels,), initializer=initial)
            self.scale2 = self.add_weight(name="scale2", shape=(channels,), initializer=initial)
        if self.clustering is not None:
            if not self.clustering.built:
                self.clustering.build(inputs_shape)
            assignment_shape = self.clustering.compute_output_shape(inputs_shape)
        if self.is_castling and assignment_shape is not None:
            raise ValueError(
                "A block with `castling` has no assignment. Received: assignment of shape "
                f"{assignment_shape}"
            )
        self.attention.build(inputs_shape, like_shape if self.is_castling else assignment_shape)
        self.mlp.build(inputs_shape)
        for norm in (self.norm1_before, self.norm1_after, self.norm2_before, self.norm2_after):
            if norm is not None:
                norm.build(inputs_shape)

    def call(
        self, inputs: Any, assignment: Any = None, like: Any = None, training: bool = False
    ) -> Any:
        """Apply the block to the map `inputs`; the class describes the outputs."""
        if not (self.remat and training):
            return self._transform(inputs, assignment, like, training)
        given = (inputs,) if assignment is None else (inputs, assignment)
        transform = functools.partial(self._transform, like=like, training=True)
        return ops.recompute([self], transform, *given)

    def _transform(
        self, inputs: Any, assignment: Any = None, like: Any = None, training: bool = False
    ) -> Any:
        x = cast(inputs, self.compute_dtype)  # (b, h, w, c)
        if self.position_embedding is not None:
            x = x + self._positions(x)
            x = self.position_dropout(x, training=True) if training else x

        y = x if self.norm1_before is None else self.norm1_before(x)
        if self.clustering is not None:
            assignment = self.clustering(y)  # (b, h w, clusters)
        y = self.attention(y, like if self.is_castling else assignment, training=training)
        y = y if self.norm1_after is None else self.norm1_after(y)
        y = y if self.scale1 is None else y * cast(self.scale1, y.dtype)
        x = x + (self.drop_path1(y, training=True) if training else y)

        y = x if self.norm2_before is None else self.norm2_before(x)
        y = self.mlp(y, training=training)
        y = y if self.norm2_after is None else self.norm2_after(y)
        y = y if self.scale2 is None else y * cast(self.scale2, y.dtype)
        x = x + (self.drop_path2(y, training=True) if training else y)
        return x if assignment is None else (x, assignment)

    def _positions(self, x: Any) -> Any:
        """Return the position embedding (1, h, w, c) at the size of the map `x`."""
        positions = expand_dims(convert_to_tensor(self.position_embedding), 0)
        if tuple(x.shape[1:3]) != tuple(self.position_embedding_size):
            positions = ops.resize_bilinear(positions, shape(x)[1:3], align_corners=True)
        return cast(positions, x.dtype)

    def compute_output_shape(
        self,
        inputs_shape: tuple,
        assignment_shape: tuple | None = None,
        like_shape: tuple | None = None,
    ) -> tuple:
        """Return the shape of the map, or the shapes of the map and the assignment."""
        if self.clustering is not None:
            assignment_shape = self.clustering.compute_output_shape(inputs_shape)
        return inputs_shape if assignment_shape is None else (inputs_shape, assignment_shape)

    def compute_output_spec(
        self, inputs: Any, assignment: Any = None, like: Any = None, training: bool = False
    ) -> Any:
        """Return the symbolic map, or the symbolic map and assignment."""
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if self.clustering is not None:
            clusters = self.clustering.compute_output_shape(inputs.shape)[-1]
            return outputs, assignment_spec(inputs.shape, clusters, self.dtype_policy)
        if assignment is None:
            return outputs
        patches, clusters = ops.count_patches(inputs.shape), assignment.shape[-1]
        made = (inputs.shape[0], patches, clusters)
        return outputs, keras.KerasTensor(made, dtype=assignment.dtype)

    @classmethod
    def from_config(cls, config: dict) -> "PaCaBlock":
        """Create a block from its configuration."""
        clustering = config.get("clustering")
        if not isinstance(clustering, keras.layers.Layer):
            clustering = keras.saving.deserialize_keras_object(clustering)
        return super().from_config({**config, "clustering": clustering})
