"""Heads that turn the levels of a pyramid backbone into class logits per patch."""

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import keras
from keras import ops

from keras_paca.layers.base import BaseLayer
from keras_paca.layers.batch_norm import BatchNormalization
from keras_paca.ops import (
    average_pool_to,
    flatten_map,
    resize_like,
    stable_softmax,
    unflatten_patches,
)
from keras_paca.ops.attention import attention_scores


def head_initializer() -> keras.initializers.Initializer:
    """Create the initializer of the last projections, a normal distribution N(0, 0.01^2).

    Returns:
        A `keras.initializers.RandomNormal`.

    Example:
    >>> head_initializer().stddev
    0.01
    """
    return keras.initializers.RandomNormal(stddev=0.01)


@keras.saving.register_keras_serializable(package="keras_paca")
class ConvNormReLU(BaseLayer):
    """A convolution, a batch normalisation and a ReLU.

        y = ReLU(BatchNorm(Conv(x))), where the convolution has no bias

    Args:
        filters: int. Channels of the output.
        kernel_size: int. Side of the convolution kernel, odd. The padding keeps the size of the
            map.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, height, width, filters).

    Example:
    >>> tuple(ConvNormReLU(filters=4, kernel_size=3)(ops.zeros((1, 8, 6, 3))).shape)
    (1, 8, 6, 4)
    """

    def __init__(self, filters: int, kernel_size: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size = filters, kernel_size
        self.conv = self.make(
            keras.layers.Conv2D,
            "conv",
            filters,
            kernel_size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            kernel_initializer="he_normal",
        )
        self.norm = self.make(BatchNormalization, "norm")

    def build(self, input_shape: tuple) -> None:
        """Build the convolution and the norm.

        Args:
            input_shape: tuple. (batch, height, width, channels).
        """
        self.conv.build(input_shape)
        if self.norm is not None:
            self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the convolution, the norm and the ReLU.

        Args:
            inputs: Tensor of shape (batch, height, width, channels).
            training: bool. Whether the norm uses the statistics of the batch.

        Returns:
            Tensor of shape (batch, height, width, filters).
        """
        x = self.conv(inputs)
        return ops.relu(x if self.norm is None else self.norm(x, training=training))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output.

        Args:
            input_shape: tuple. (batch, height, width, channels).
        """
        return (*input_shape[:3], self.filters)


class SegmentationHead(BaseLayer):
    """Base class of the segmentation heads: their arguments, the dropout, the last projection.

    Subclasses turn the levels of a backbone into a map with `channels` channels, and end with a
    spatial dropout, which drops whole channels, and a 1 x 1 projection to the classes.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels inside the head.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Raises:
        ValueError: If `num_classes` or `channels` is less than 1.

    Example:
    >>> import keras_paca
    >>> from keras_paca.segmentation import FCNHead, SegmentationHead, Segmenter
    >>> head = FCNHead(num_classes=3, channels=8)
    >>> isinstance(head, SegmentationHead)
    True
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> Segmenter(backbone, head, num_classes=3).decode_head is head
    True
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1 or channels < 1:
            raise ValueError(
                "`num_classes` and `channels` must be positive integers. "
                f"Received: num_classes={num_classes}, channels={channels}"
            )
        self.num_classes, self.channels, self.dropout = num_classes, channels, dropout
        self.dropout_layer = self.make(
            keras.layers.SpatialDropout2D, "dropout", dropout, data_format="channels_last"
        )
        self.classify = self._projection(num_classes, "classify")

    def _conv(self, name: str, kernel_size: int = 1) -> ConvNormReLU:
        return self.make(ConvNormReLU, name, self.channels, kernel_size)

    def _projection(self, units: int, name: str) -> keras.layers.Dense:
        """Return a 1 x 1 convolution to logits, which are float32 at least."""
        return self.make(
            keras.layers.Dense,
            name,
            units,
            kernel_initializer=head_initializer(),
            dtype=self.dtype_policy.variable_dtype,
        )

    def _classify(self, x: Any, training: bool | None) -> Any:
        return self.classify(self.dropout_layer(x, training=training))

    def _levels_needed(self, shapes: Any, count: int) -> None:
        if not isinstance(shapes, (list, tuple)) or len(shapes) != count:
            raise ValueError(
                f"{type(self).__name__} must be called on a list of {count} maps, the finest "
                f"first. Received: shapes={shapes}"
            )


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


@keras.saving.register_keras_serializable(package="keras_paca")
class UPerHead(SegmentationHead):
    """The UPerNet head: pyramid pooling of the coarsest level, and a feature pyramid.

    The coarsest level is pooled to grids of several sizes. A feature pyramid combines the result
    with the finer levels top-down, and a convolution fuses the outputs of all levels at the size of
    the finest.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels inside the head.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        pool_scales: Sequence of int. Number of bins per side of each pooling.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of four maps (batch, height, width, any), the finest first.
    Output shape: (batch, height, width, num_classes), logits of the size of the finest map.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import UPerHead
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> tuple(UPerHead(num_classes=3, channels=8)(levels).shape)
    (1, 16, 16, 3)

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018.
    """

    levels = 4

    def __init__(
        self,
        num_classes: int,
        channels: int = 512,
        dropout: float = 0.1,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        self.pool_scales = tuple(pool_scales)
        self.pooled = [self._conv(f"pool{scale}") for scale in self.pool_scales]
        self.bottleneck = self._conv("bottleneck", 3)
        self.laterals = [self._conv(f"lateral{i + 1}") for i in range(self.levels - 1)]
        self.smooths = [self._conv(f"fpn{i + 1}", 3) for i in range(self.levels - 1)]
        self.fusion = self._conv("fusion", 3)

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolutions.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        self._levels_needed(input_shape, self.levels)
        *finer, top = input_shape
        for conv in self.pooled:
            conv.build(top)
        pooled = len(self.pooled) * self.channels
        self.bottleneck.build((*top[:3], None if top[3] is None else top[3] + pooled))
        for lateral, smooth, shape in zip(self.laterals, self.smooths, finer, strict=True):
            lateral.build(shape)
            smooth.build((*shape[:3], self.channels))
        self.fusion.build((*input_shape[0][:3], self.levels * self.channels))
        self.classify.build((*input_shape[0][:3], self.channels))

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> Any:
        """Compute the logits.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.
            training: bool. Whether dropout is applied and norms use the statistics of the batch.

        Returns:
            Logits (batch, height, width, num_classes).
        """
        *finer, top = inputs
        context = [top]
        for scale, conv in zip(self.pool_scales, self.pooled, strict=True):
            pooled = conv(average_pool_to(top, scale), training=training)
            context.append(resize_like(pooled, top))
        x = self.bottleneck(ops.concatenate(context, axis=-1), training=training)
        maps = [x]
        for i in reversed(range(len(finer))):
            x = self.laterals[i](finer[i], training=training) + resize_like(x, finer[i])
            maps.insert(0, self.smooths[i](x, training=training))
        maps = [resize_like(x, maps[0]) for x in maps]
        x = self.fusion(ops.concatenate(maps, axis=-1), training=training)
        return self._classify(x, training)

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        """Return the shape of the logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        return (*input_shape[0][:3], self.num_classes)


@keras.saving.register_keras_serializable(package="keras_paca")
class SemanticFPNHead(SegmentationHead):
    """The Semantic FPN head: a feature pyramid whose levels are upsampled and added.

    Each level of the pyramid reaches the size of the finest level through convolutions, each of
    which is followed by an upsampling to the next finer level.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels of the convolutions after the feature pyramid.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        pyramid_channels: int. Channels of the feature pyramid.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, any), the finest first.
    Output shape: (batch, height, width, num_classes), logits of the size of the finest map.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import SemanticFPNHead
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> head = SemanticFPNHead(num_classes=3, channels=8, pyramid_channels=8)
    >>> tuple(head(levels).shape)
    (1, 16, 16, 3)

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 128,
        dropout: float = 0.1,
        pyramid_channels: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        self.pyramid_channels = pyramid_channels

    def _pyramid_conv(self, name: str, kernel_size: int) -> keras.layers.Conv2D:
        return self.make(
            keras.layers.Conv2D,
            name,
            self.pyramid_channels,
            kernel_size,
            padding="same",
            data_format="channels_last",
        )

    def _paths(self) -> list[list[ConvNormReLU]]:
        """Return the convolutions that upsample each level to the finest."""
        ups = iter(self.ups)
        return [list(islice(ups, max(i, 1))) for i in range(len(self.smooths))]

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the pyramid and the convolutions that upsample each level.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        levels = range(len(input_shape))
        self.laterals = [self._pyramid_conv(f"lateral{i + 1}", 1) for i in levels]
        self.smooths = [self._pyramid_conv(f"fpn{i + 1}", 3) for i in levels]
        self.ups = [  # not one list per level: Keras 3.13 saves nothing of lists in lists
            self._conv(f"level{i + 1}_conv{step + 1}", 3)
            for i in levels
            for step in range(max(i, 1))
        ]
        for lateral, smooth, path, shape in zip(
            self.laterals, self.smooths, self._paths(), input_shape, strict=True
        ):
            lateral.build(shape)
            smooth.build((*shape[:3], self.pyramid_channels))
            for step, conv in enumerate(path):
                channels = self.channels if step else self.pyramid_channels
                conv.build((None, None, None, channels))
        self.classify.build((*input_shape[0][:3], self.channels))

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> Any:
        """Compute the logits.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.
            training: bool. Whether dropout is applied and norms use the statistics of the batch.

        Returns:
            Logits (batch, height, width, num_classes).
        """
        merged, x = [], None
        for lateral, level in reversed(list(zip(self.laterals, inputs, strict=True))):
            x = lateral(level) if x is None else lateral(level) + resize_like(x, level)
            merged.insert(0, x)
        total = None
        for i, (smooth, path) in enumerate(zip(self.smooths, self._paths(), strict=True)):
            x = smooth(merged[i])
            for step, conv in enumerate(path):
                x = conv(x, training=training)
                if i:  # The finest level keeps its size.
                    x = resize_like(x, inputs[i - step - 1])
            total = x if total is None else total + x
        return self._classify(total, training)

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        """Return the shape of the logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        return (*input_shape[0][:3], self.num_classes)


@keras.saving.register_keras_serializable(package="keras_paca")
class FCNHead(SegmentationHead):
    """The FCN head: one 3 x 3 convolution on one level.

    It is the usual auxiliary head next to a `UPerHead`.

    Args:
        num_classes: int. Number of classes.
        channels: int. Channels of the convolution.
        dropout: float. Rate of the dropout before the last projection, in [0, 1).
        level: int. Index of the level that the head uses, where 0 is the finest.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, any), the finest first.
    Output shape: (batch, height, width, num_classes), logits of the size of the chosen level.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import FCNHead
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> tuple(FCNHead(num_classes=3, channels=8, level=2)(levels).shape)
    (1, 4, 4, 3)

    Source: Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    """

    def __init__(
        self,
        num_classes: int,
        channels: int = 256,
        dropout: float = 0.1,
        level: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, channels, dropout, **kwargs)
        self.level = level
        self.conv = self._conv("conv", 3)

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolution.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        self.conv.build(input_shape[self.level])
        self.classify.build((*input_shape[self.level][:3], self.channels))

    def call(self, inputs: Sequence[Any], training: bool | None = None) -> Any:
        """Compute the logits.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.
            training: bool. Whether dropout is applied and norms use the statistics of the batch.

        Returns:
            Logits (batch, height, width, num_classes).
        """
        return self._classify(self.conv(inputs[self.level], training=training), training)

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        """Return the shape of the logits.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        return (*input_shape[self.level][:3], self.num_classes)
