"""The FCN head: one 3 x 3 convolution on one level."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_paca.segmentation.heads.base import SegmentationHead


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
