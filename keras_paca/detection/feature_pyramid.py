"""The feature pyramid network between a backbone and the heads of a detector."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_paca.backbones.pyramid import merge_top_down
from keras_paca.layers.base import BaseLayer
from keras_paca.ops import resize_nearest


@keras.saving.register_keras_serializable(package="keras_paca")
class FeaturePyramid(BaseLayer):
    """Combine the levels of a backbone top-down, and add one coarser level.

    With the levels P2 to P5,

        M5 = conv1x1(P5), M_i = conv1x1(P_i) + nearest(M_{i+1}), out_i = conv3x3(M_i).

    The additional level keeps every second row and column of the coarsest output.

    Args:
        channels: int. Channels of every output.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, any), the finest first.
    Output shape: list of maps (batch, height, width, channels), one more than in the input.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import FeaturePyramid
    >>> levels = [np.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> [tuple(level.shape) for level in FeaturePyramid(channels=4)(levels)]
    [(1, 16, 16, 4), (1, 8, 8, 4), (1, 4, 4, 4), (1, 2, 2, 4), (1, 1, 1, 4)]

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, channels: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def _conv(self, name: str, kernel_size: int) -> keras.layers.Conv2D:
        return self.make(
            keras.layers.Conv2D,
            name,
            self.channels,
            kernel_size,
            padding="same",
            data_format="channels_last",
            kernel_initializer="glorot_uniform",
        )

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolutions.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        levels = range(len(input_shape))
        self.laterals = [self._conv(f"lateral{i + 1}", 1) for i in levels]
        self.smooths = [self._conv(f"fpn{i + 1}", 3) for i in levels]
        for lateral, smooth, shape in zip(self.laterals, self.smooths, input_shape, strict=True):
            lateral.build(shape)
            smooth.build((*shape[:3], self.channels))

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """Compute the feature pyramid.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, any), the finest first.

        Returns:
            list of Tensor. Maps (batch, height, width, channels), one more than in `inputs`.
        """
        outputs = merge_top_down(inputs, self.laterals, self.smooths, resize_nearest)
        return [*outputs, outputs[-1][:, ::2, ::2]]

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> list[tuple]:
        """Return the shapes of the levels.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, any), the finest level first.
        """
        shapes = [(*shape[:3], self.channels) for shape in input_shape]
        batch, height, width, _ = shapes[-1]
        halves = (None if side is None else -(-side // 2) for side in (height, width))
        return [*shapes, (batch, *halves, self.channels)]
