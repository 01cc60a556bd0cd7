"""One block of PaCa-ViT: attention to clusters, then the feed-forward network."""

from typing import Any

import keras
from keras import ops

from keras_paca.layers.attention import PatchToClusterAttention
from keras_paca.layers.clustering import assignment_spec
from keras_paca.layers.composite import Composite
from keras_paca.layers.conv_mlp import ConvMLP
from keras_paca.layers.drop_path import DropPath
from keras_paca.layers.folding import UNCHANGED, Affine, affine_of, read, take_weights
from keras_paca.layers.initializers import linear_initializer
from keras_paca.layers.maps import count_patches, resize_bilinear
from keras_paca.layers.mean_free import MeanFreeNormalization, take_mean
from keras_paca.layers.recompute import recompute

CHANNEL_MEANS = ("kept", "dropped", "absent")


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaBlock(Composite):
    """Transformer block with patch-to-cluster attention.

    x = x + DropPath(g1 norm1_after(attention(norm1_before(x), A)))
    x = x + DropPath(g2 norm2_after(mlp(norm2_before(x))))

    A is the assignment that `clustering` makes of norm1_before(x), or else the one received. The
    norms before are there unless `post_norm`, the norms after only with it; `sub_norm` has both.

    Args:
        num_heads: number of attention heads; divides the channels.
        clustering: layer from a map to an assignment, such as `ConvClustering(100)`; `None` to
            use the assignment received, or plain attention where there is none.
        mlp_ratio: width of the feed-forward network over the channels.
        drop_path_rate: rate of both residual branches.
        attention_dropout: rate on the attention weights.
        dropout: rate after projections.
        layer_scale: initial value of the learned channel scales g1, g2; `None` for none.
        post_norm: norm the branches' outputs in place of their inputs.
        sub_norm: norm both inputs and outputs of the branches.
        position_embedding_size: (height, width) in patches of a learned position embedding that
            is added to the input, resized to other sizes; `None` for none.
        cluster_position_embedding: whether a learned vector is added to each cluster.
        cluster_norm: whether the clusters are layer-normed.
        dwconv_in_mlp: whether the feed-forward network has its depthwise convolution.
        shortcut_in_mlp: whether that convolution has a shortcut.
        remat: whether training holds the block's inputs alone and computes the block again in
            the backward pass: less memory, more time, the same gradients.
        fused: whether the block has the form for inference that `keras_paca.fuse` makes: its
            projections and its norms after hold g1, g2 and what norms without scale and centre
            have before them. norm1_before keeps its own where clusters are made of its output.
        channel_mean: what a fused block may do with the map's mean over the channels when it is
            exported. "kept": nothing. Where nothing but norms, which drop it, reads the output:
            "dropped", take it away; "absent", rely on inputs that have none.

    Call arguments:
        inputs: map (batch, height, width, channels), float.
        assignment: (batch, height x width, clusters) or `None`.

    Output: the map (batch, height, width, channels); where the block makes or receives an
    assignment, the pair (map, assignment).

    Raises:
        ValueError: if `channel_mean` is none of these, or not "kept" in a block with norms after,
            or "absent" in one with a position embedding.

    Source: PaCa-ViT (Grainger et al., CVPR 2023), figure 2, and the options of its code.
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
        remat: bool = False,
        fused: bool = False,
        channel_mean: str = "kept",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # the assignment keeps its float32
        if channel_mean not in CHANNEL_MEANS:
            raise ValueError(
                f"`channel_mean` must be one of {CHANNEL_MEANS}. Received: {channel_mean!r}"
            )
        if channel_mean != "kept" and (post_norm or sub_norm):
            raise ValueError(
                "`channel_mean` must be 'kept' in a block with norms after its branches, which add "
                f"a mean. Received: channel_mean={channel_mean!r}"
            )
        if channel_mean == "absent" and position_embedding_size is not None:
            raise ValueError(
                "`channel_mean` can't be 'absent' in a block with a position embedding, which adds "
                f"a mean. Received: position_embedding_size={position_embedding_size}"
            )
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
        self.remat = remat
        self.fused = fused
        self.channel_mean = channel_mean

        dtype = self.dtype_policy
        self.position_dropout = keras.layers.Dropout(dropout, dtype=dtype)
        norms_before, norms_after = sub_norm or not post_norm, sub_norm or post_norm
        self.norm1_before = self._norm("norm1_before") if norms_before else None
        self.attention = PatchToClusterAttention(
            num_heads,
            cluster_norm=cluster_norm,
            cluster_position_embedding=cluster_position_embedding,
            attention_dropout=attention_dropout,
            dropout=dropout,
            fused=fused,
            **self.inner("attention"),
        )
        self.norm1_after = self._norm("norm1_after") if norms_after else None
        self.drop_path1 = DropPath(drop_path_rate, dtype=dtype, name="drop_path1")
        self.norm2_before = self._norm("norm2_before", bare=fused) if norms_before else None
        self.mlp = ConvMLP(
            mlp_ratio, dwconv_in_mlp, shortcut_in_mlp, dropout, fused, **self.inner("mlp")
        )
        self.norm2_after = self._norm("norm2_after") if norms_after else None
        self.drop_path2 = DropPath(drop_path_rate, dtype=dtype, name="drop_path2")

    def _norm(self, name: str, bare: bool = False) -> keras.layers.Layer:
        kept = self.channel_mean == "kept"
        norm = keras.layers.LayerNormalization if kept else MeanFreeNormalization
        return norm(
            epsilon=1e-6, center=not bare, scale=not bare, dtype=self.dtype_policy, name=name
        )

    def build(self, inputs_shape: tuple, assignment_shape: tuple | None = None) -> None:
        """Build what the block is made of."""
        channels = inputs_shape[-1]
        self.position_embedding = None
        if self.position_embedding_size is not None:
            self.position_embedding = self.add_weight(
                name="position_embedding",
                shape=(*self.position_embedding_size, channels),
                initializer=linear_initializer(),
            )
        self.scale1 = self.scale2 = None
        if self.layer_scale is not None and not self.fused:
            initial = keras.initializers.Constant(self.layer_scale)
            self.scale1 = self.add_weight(name="scale1", shape=(channels,), initializer=initial)
            self.scale2 = self.add_weight(name="scale2", shape=(channels,), initializer=initial)
        if self.clustering is not None:
            if not self.clustering.built:
                self.clustering.build(inputs_shape)
            assignment_shape = self.clustering.compute_output_shape(inputs_shape)
        if self.fused and assignment_shape is None and self.norm1_before is not None:
            self.norm1_before.center = self.norm1_before.scale = False  # known only now
        self.attention.build(inputs_shape, assignment_shape)
        self.mlp.build(inputs_shape)
        for norm in (self.norm1_before, self.norm1_after, self.norm2_before, self.norm2_after):
            if norm is not None:
                norm.build(inputs_shape)

    def call(self, inputs: Any, assignment: Any = None, training: bool = False) -> Any:
        """Transform the map `inputs`; see the class for what is returned."""
        if not (self.remat and training):
            return self._transform(inputs, assignment, training)
        given = (inputs,) if assignment is None else (inputs, assignment)
        return recompute([self], lambda *given: self._transform(*given, training=True), *given)

    def _transform(self, inputs: Any, assignment: Any = None, training: bool = False) -> Any:
        x = ops.cast(inputs, self.compute_dtype)  # (b, h, w, c)
        if self.position_embedding is not None:
            x = x + self._positions(x)
            x = self.position_dropout(x, training=True) if training else x
        if self.channel_mean == "dropped":
            x = take_mean(x)

        y = x if self.norm1_before is None else self.norm1_before(x)
        if self.clustering is not None:
            assignment = self.clustering(y)  # (b, h w, clusters)
        y = self.attention(y, assignment, training=training)
        y = y if self.norm1_after is None else self.norm1_after(y)
        y = y if self.scale1 is None else y * ops.cast(self.scale1, y.dtype)
        x = x + (self.drop_path1(y, training=True) if training else y)

        y = x if self.norm2_before is None else self.norm2_before(x)
        y = self.mlp(y, training=training)
        y = y if self.norm2_after is None else self.norm2_after(y)
        y = y if self.scale2 is None else y * ops.cast(self.scale2, y.dtype)
        x = x + (self.drop_path2(y, training=True) if training else y)
        return x if assignment is None else (x, assignment)

    def _positions(self, x: Any) -> Any:
        """Return the position embedding (1, h, w, c) at the size of the map `x`."""
        positions = ops.expand_dims(ops.convert_to_tensor(self.position_embedding), 0)
        if tuple(x.shape[1:3]) != tuple(self.position_embedding_size):
            positions = resize_bilinear(positions, ops.shape(x)[1:3], align_corners=True)
        return ops.cast(positions, x.dtype)

    def fold(self, source: "PaCaBlock") -> None:
        """Take the weights of an unfused block."""
        if self.position_embedding is not None:
            self.position_embedding.assign(read(source.position_embedding))
        if self.clustering is not None:
            take_weights(self.clustering, source.clustering)
        before = affine_of(source.norm1_before)
        if self.norm1_before is not None and self.norm1_before.scale:
            take_weights(self.norm1_before, source.norm1_before)
            before = UNCHANGED
        after = self._fold_scale(self.norm1_after, source.norm1_after, source.scale1)
        self.attention.fold(source.attention, before, after)
        after = self._fold_scale(self.norm2_after, source.norm2_after, source.scale2)
        self.mlp.fold(source.mlp, affine_of(source.norm2_before), after)

    def _fold_scale(self, norm: Any, source: Any, scale: Any) -> Affine:
        """Fold a branch's scale into its norm after; without a norm return it."""
        scale = read(scale, 1.0)
        if norm is None:
            return Affine(scale)
        norm.gamma.assign(read(source.gamma) * scale)
        norm.beta.assign(read(source.beta) * scale)
        return UNCHANGED

    def centre(self) -> None:
        """Have the projections add no mean over the channels, where nothing reads it."""
        if self.channel_mean == "kept":
            return
        for dense in (self.attention.output_dense, self.mlp.project_dense):
            for weight in (dense.kernel, dense.bias):
                values = read(weight)
                weight.assign(values - values.mean(axis=-1, keepdims=True))

    def compute_output_shape(
        self, inputs_shape: tuple, assignment_shape: tuple | None = None
    ) -> tuple:
        """Return the shape of the map, or the shapes of map and assignment."""
        if self.clustering is not None:
            assignment_shape = self.clustering.compute_output_shape(inputs_shape)
        return inputs_shape if assignment_shape is None else (inputs_shape, assignment_shape)

    def compute_output_spec(
        self, inputs: Any, assignment: Any = None, training: bool = False
    ) -> Any:
        """Return the symbolic map, or the symbolic map and assignment."""
        outputs = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        if self.clustering is not None:
            clusters = self.clustering.compute_output_shape(inputs.shape)[-1]
            return outputs, assignment_spec(inputs.shape, clusters, self.compute_dtype)
        if assignment is None:
            return outputs
        return outputs, keras.KerasTensor(
            (inputs.shape[0], count_patches(inputs.shape), assignment.shape[-1]),
            dtype=assignment.dtype,
        )

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "clustering": keras.saving.serialize_keras_object(self.clustering),
            "mlp_ratio": self.mlp_ratio,
            "drop_path_rate": self.drop_path_rate,
            "attention_dropout": self.attention_dropout,
            "dropout": self.dropout,
            "layer_scale": self.layer_scale,
            "post_norm": self.post_norm,
            "sub_norm": self.sub_norm,
            "position_embedding_size": self.position_embedding_size,
            "cluster_position_embedding": self.cluster_position_embedding,
            "cluster_norm": self.cluster_norm,
            "dwconv_in_mlp": self.dwconv_in_mlp,
            "shortcut_in_mlp": self.shortcut_in_mlp,
            "remat": self.remat,
            "fused": self.fused,
            "channel_mean": self.channel_mean,
        }

    @classmethod
    def from_config(cls, config: dict) -> "PaCaBlock":
        """Return the block of a configuration."""
        clustering = keras.saving.deserialize_keras_object(config.get("clustering"))
        return cls(**{**config, "clustering": clustering})
