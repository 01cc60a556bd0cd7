"""The PaCa head: attention from the patches to one learned cluster per class."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.ops import flatten_map, resize_like, stable_softmax, unflatten_patches
from keras_paca.ops.attention import attention_scores
from keras_paca.segmentation.heads.base import SegmentationHead


@keras.saving.register_keras_serializable(package="keras_paca")
class PaCaSegmentationHead(SegmentationHead):
    """The PaCa head: attention from the patches to one learned cluster per class.

    Let F be the four levels, each projected to `channels` channels and resized to the finest level,
    and then concatenated. With T for the transpose, the head computes

        C = clusters(F), Z = softmax_over_patches(C)^T F,
        y = softmax_over_clusters(query(F) key(Z)^T) value(Z), logits = classify(project(y)).

    The cluster logits C are trained with the same targets as the logits, so that each cluster
    stands for a class.

    Args:
        num_classes: int. Number of classes, which is also the number of clusters.
        channels: int. Channels inside the head.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of four maps (batch, height, width, any), the finest first.
    Output shape: two tensors (batch, height, width, num_classes) of the size of the finest map: the
    logits and the cluster logits.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import PaCaSegmentationHead
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> logits, cluster_logits = PaCaSegmentationHead(num_classes=3, channels=8)(levels)
    >>> tuple(logits.shape), tuple(cluster_logits.shape)
    ((1, 16, 16, 3), (1, 16, 16, 3))

    Source: PaCa-ViT (Grainger et al., CVPR 2023), section 4.3.
    """

    levels = 4

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        self.laterals = [self._conv(f"lateral{i + 1}") for i in range(self.levels)]
        self.query_conv = self._conv("query")
        self.cluster_conv = self._conv("cluster_conv")
        self.cluster_projection = self._projection(num_classes, "clusters")
        self.key_dense = self.make(keras.layers.Dense, "key", channels)
        self.key_norm = self.make(BatchNormalization, "key_norm")
        self.value_dense = self.make(keras.layers.Dense, "value", channels)
        self.value_norm = self.make(BatchNormalization, "value_norm")
        self.output_conv = self._conv("attention_output")

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the projections.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        self._levels_needed(input_shape, self.levels)
        for conv, shape in zip(self.laterals, input_shape, strict=True):
            conv.build(shape)
        joined = (*input_shape[0][:3], self.levels * self.channels)
        narrow = (*input_shape[0][:3], self.channels)
        clusters = (input_shape[0][0], self.num_classes, self.levels * self.channels)
        self.query_conv.build(joined)
        self.cluster_conv.build(joined)
        self.cluster_projection.build(narrow)
        for dense, norm in (
            (self.key_dense, self.key_norm),
            (self.value_dense, self.value_norm),
        ):
            dense.build(clusters)
            if norm is not None:
                norm.build((*clusters[:2], self.channels))
        self.output_conv.build(narrow)
        self.classify.build(narrow)

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> tuple[Any, Any]:
        """Compute the logits and the cluster logits.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.
            training: bool. Whether dropout is applied and norms use the statistics of the batch.

        Returns:
            Logits and cluster logits, both (batch, height, width, num_classes).
        """
        maps = [conv(x, training=training) for conv, x in zip(self.laterals, inputs, strict=True)]
        joined = ops.concatenate([resize_like(x, maps[0]) for x in maps], axis=-1)
        query = flatten_map(self.query_conv(joined, training=training))  # (b, n, c)
        cluster_logits = self.cluster_projection(self.cluster_conv(joined, training=training))
        assignment = stable_softmax(flatten_map(cluster_logits), axis=1)  # (b, n, m)
        assignment = ops.cast(assignment, self.compute_dtype)
        patches = flatten_map(joined)  # (b, n, 4c)
        clusters = ops.matmul(ops.transpose(assignment, (0, 2, 1)), patches)  # (b, m, 4c)
        key, value = self.key_dense(clusters), self.value_dense(clusters)  # (b, m, c)
        key = key if self.key_norm is None else self.key_norm(key, training=training)
        value = value if self.value_norm is None else self.value_norm(value, training=training)
        key, value = ops.relu(key), ops.relu(value)
        scores = attention_scores(query, key)  # (b, n, m)
        attended = ops.matmul(ops.cast(stable_softmax(scores, axis=-1), self.compute_dtype), value)
        x = self.output_conv(unflatten_patches(attended, like=joined), training=training)
        return self._classify(x, training), cluster_logits

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple[tuple, tuple]:
        """Return the shapes of the logits and the cluster logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        shape = (*input_shape[0][:3], self.num_classes)
        return shape, shape

    def count_products(self, input_shape: Sequence[tuple]) -> int:
        """Count the multiply-accumulate operations of a call, except those of the projections.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.

        Returns:
            int. Number of multiply-accumulate operations.
        """
        patches = math.prod(input_shape[0][:3])
        return patches * self.num_classes * (self.levels + 2) * self.channels
