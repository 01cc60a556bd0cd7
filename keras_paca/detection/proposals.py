"""The region proposal network: anchors, their scores and deltas, and the proposals."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.detection.boxes import decode_boxes, suppress
from keras_paca.layers.maps import count_patches
from keras_paca.layers.nested import NestedLayer
from keras_paca.layers.softmax import logits_policy

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)  # height over width
SCALE = 8  # side of the square anchor, in strides


def level_anchors(height: Any, width: Any, stride: int) -> Any:
    """Return the anchors (height x width x 3, 4) of a level, rows first, ratio by ratio last.

    Args:
        height: of the level's map.
        width: of the level's map.
        stride: pixels of the image between two patches of the map.
    """
    sides = np.array(
        [[SCALE * stride / math.sqrt(r), SCALE * stride * math.sqrt(r)] for r in RATIOS]
    )
    shapes = np.concatenate([-sides / 2, sides / 2], axis=1).astype(keras.config.floatx())  # (3, 4)
    x = ops.cast(ops.arange(width), keras.config.floatx()) * float(stride)
    y = ops.cast(ops.arange(height), keras.config.floatx()) * float(stride)
    x, y = ops.meshgrid(x, y)  # (height, width)
    centres = ops.stack([x, y, x, y], axis=-1)  # (height, width, 4)
    return ops.reshape(ops.expand_dims(centres, 2) + ops.convert_to_tensor(shapes), (-1, 4))


@keras.saving.register_keras_serializable(package="keras_paca")
class RegionProposalNetwork(NestedLayer):
    """Score anchors and refine them.

    h = ReLU(conv3x3(x)), objectness = conv1x1(h), deltas = conv1x1(h).

    The three convolutions are shared by the levels. There are three anchors per patch, of the
    height-to-width ratios 0.5, 1 and 2 and the area (8 strides)^2.

    Args:
        channels: channels of the first convolution.

    Input shape: list of maps (batch, height, width, any).
    Output shape: (list of (batch, height x width x 3), list of (batch, height x width x 3, 4)),
    float32: logits and deltas per anchor, in the order of `level_anchors`.

    Source: Ren et al., "Faster R-CNN", NeurIPS 2015.
    """

    def __init__(self, channels: int = 256, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.conv = self._conv(channels, 3, "conv", activation="relu")
        exact = logits_policy(self.dtype_policy)
        self.objectness = self._conv(len(RATIOS), 1, "objectness", dtype=exact)
        self.deltas = self._conv(4 * len(RATIOS), 1, "deltas", dtype=exact)

    def _conv(self, filters: int, size: int, name: str, **kwargs: Any) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            filters,
            size,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            name=name,
            **{"dtype": self.dtype_policy, **kwargs},
        )

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolutions."""
        self.conv.build(input_shape[0])
        shape = (*input_shape[0][:3], self.channels)
        self.objectness.build(shape)
        self.deltas.build(shape)

    def call(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return objectness logits and deltas, level by level."""
        objectness, deltas = [], []
        for level in inputs:
            x = self.conv(level)
            patches = count_patches(x.shape)
            size = (ops.shape(x)[0], -1) if patches is None else (-1, patches * len(RATIOS))
            scores = ops.cast(self.objectness(x), self.variable_dtype)
            objectness.append(ops.reshape(scores, size))
            moves = ops.cast(self.deltas(x), self.variable_dtype)
            deltas.append(ops.reshape(moves, (*size, 4)))
        return objectness, deltas

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple[list, list]:
        """Return the shapes of the logits and the deltas."""
        patches = [count_patches(shape) for shape in input_shape]
        counts = [None if n is None else n * len(RATIOS) for n in patches]
        batch = input_shape[0][0]
        return [(batch, n) for n in counts], [(batch, n, 4) for n in counts]

    def compute_output_spec(self, inputs: Sequence[Any]) -> tuple[list, list]:
        """Return the outputs' shapes and types."""
        shapes = self.compute_output_shape([x.shape for x in inputs])
        return tuple(
            [keras.KerasTensor(shape, self.variable_dtype) for shape in group] for group in shapes
        )

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels}


def make_proposals(
    objectness: Sequence[Any],
    deltas: Sequence[Any],
    anchors: Sequence[Any],
    image_size: tuple,
    candidates: int = 1000,
    count: int = 1000,
    iou_threshold: float = 0.7,
) -> tuple[Any, Any]:
    """Return the best boxes of a region proposal network, without gradients.

    Of each level the best `candidates` compete with one another; of what is kept the best `count`
    of all levels are returned. Boxes without area are left out.

    Args:
        objectness: per level, (b, n).
        deltas: per level, (b, n, 4).
        anchors: per level, (n, 4).
        image_size: (height, width).
        candidates: boxes per level before the suppression.
        count: boxes per image in the end.
        iou_threshold: of the suppression.

    Returns:
        Boxes (b, count, 4) and their logits (b, count), the best first; -inf where there were
        fewer, and the box is empty.
    """
    boxes, scores = [], []
    for logits, moves, places in zip(objectness, deltas, anchors, strict=True):
        logits, moves = ops.stop_gradient(logits), ops.stop_gradient(moves)
        n = ops.shape(logits)[1]
        k = min(candidates, n) if isinstance(n, int) else ops.minimum(candidates, n)
        best, index = ops.top_k(logits, k)
        moves = ops.take_along_axis(moves, ops.expand_dims(index, -1), axis=1)
        found = decode_boxes(moves, ops.take(places, index, axis=0), image_size)
        real = ops.all(found[..., 2:] > found[..., :2], axis=-1)
        boxes.append(found)
        scores.append(ops.where(suppress(found, real, iou_threshold), best, -math.inf))
    # padding, so that there are always `count`
    batch, dtype = ops.shape(boxes[0])[0], boxes[0].dtype
    scores.append(ops.full((batch, count), -math.inf, dtype=dtype))
    boxes.append(ops.zeros((batch, count, 4), dtype=dtype))
    scores, index = ops.top_k(ops.concatenate(scores, axis=1), count)
    boxes = ops.take_along_axis(ops.concatenate(boxes, axis=1), ops.expand_dims(index, -1), axis=1)
    return ops.where(ops.expand_dims(scores > -math.inf, -1), boxes, 0.0), scores
