"""The feature pyramid network between a backbone and its detector."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_paca.layers.nested import NestedLayer


def resize_nearest(inputs: Any, like: Any) -> Any:
    """Return a map (b, h, w, c) at the sides of `like`: row y is row floor(y h / height)."""
    old, new = ops.shape(inputs)[1:3], ops.shape(like)[1:3]
    for axis in (0, 1):
        index = ops.arange(new[axis], dtype="int32") * old[axis] // new[axis]
        inputs = ops.take(inputs, index, axis=axis + 1)
    return inputs


@keras.saving.register_keras_serializable(package="keras_paca")
class FeaturePyramid(NestedLayer):
    """A top-down path through the levels of a backbone, and one level more.

        M5 = lateral(P5), M_i = lateral(P_i) + nearest(M_{i+1}), out_i = conv3x3(M_i),

    and the last level is every second row and column of the one before.

    Args:
        channels: channels of every level.

    Input shape: list of maps (batch, height, width, any), the finest first.
    Output shape: list of one map more, (batch, height, width, channels).

    Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, channels: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def _conv(self, name: str, kernel_size: int) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            self.channels,
            kernel_size,
            padding="same",
            data_format="channels_last",
            kernel_initializer="glorot_uniform",
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolutions."""
        levels = range(len(input_shape))
        self.laterals = [self._conv(f"lateral{i + 1}", 1) for i in levels]
        self.smooths = [self._conv(f"fpn{i + 1}", 3) for i in levels]
        for lateral, smooth, shape in zip(self.laterals, self.smooths, input_shape, strict=True):
            lateral.build(shape)
            smooth.build((*shape[:3], self.channels))

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the levels of the pyramid."""
        merged: list[Any] = []
        for lateral, level in reversed(list(zip(self.laterals, inputs, strict=True))):
            x = lateral(level)
            if merged:
                x = x + resize_nearest(merged[0], x)
            merged.insert(0, x)
        outputs = [smooth(x) for smooth, x in zip(self.smooths, merged, strict=True)]
        return [*outputs, outputs[-1][:, ::2, ::2]]

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> list[tuple]:
        """Return the shapes of the levels."""
        shapes = [(*shape[:3], self.channels) for shape in input_shape]
        batch, height, width, _ = shapes[-1]
        halves = (None if side is None else -(-side // 2) for side in (height, width))
        return [*shapes, (batch, *halves, self.channels)]

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels}
