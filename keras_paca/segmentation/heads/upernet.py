"""The UPerNet head: pyramid pooling of the coarsest level, and a feature pyramid."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_paca.ops import average_pool_to, resize_like
from keras_paca.segmentation.heads.base import SegmentationHead


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
