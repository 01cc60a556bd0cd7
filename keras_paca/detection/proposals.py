"""The region proposal network: anchors, objectness scores, box deltas and proposals."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.detection.boxes import decode_boxes, suppress
from keras_paca.layers.base import BaseLayer
from keras_paca.layers.policies import logits_policy
from keras_paca.ops import count_patches

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)  # height over width
SCALE = 8  # side of the square anchor, as a multiple of the stride


def level_anchors(height: Any, width: Any, stride: int) -> Any:
    """Return the anchors of one level of the feature pyramid.

    The patch in row i and column j has three anchors. Their centre is (j * stride, i * stride),
    their area (8 * stride)^2, and their ratios of height to width are 0.5, 1 and 2.

    Args:
        height: int or Tensor. Rows of the level's map, a scalar.
        width: int or Tensor. Columns of the level's map, a scalar.
        stride: int. Pixels of the image between two neighbouring patches of the map.

    Returns:
        Tensor of shape (height * width * 3, 4): left, top, right and bottom in pixels of the image,
        ordered by row, then by column, then by ratio.

    Example:
    >>> anchors = level_anchors(height=2, width=3, stride=4)
    >>> ops.convert_to_numpy(anchors)[1].tolist()
    [-16.0, -16.0, 16.0, 16.0]
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
class RegionProposalNetwork(BaseLayer):
    """Predict an objectness logit and box deltas for every anchor.

        h = ReLU(conv3x3(x)), objectness = conv1x1(h), deltas = conv1x1(h)

    All levels share the three convolutions. Every patch has three anchors with the area
    (8 * stride)^2 and the ratios of height to width 0.5, 1 and 2.

    Args:
        channels: int. Channels of the first convolution.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, any), all with the same number of channels.
    Output shape: two lists with one tensor per level, float32 or wider: objectness logits (batch,
    height * width * 3) and deltas (batch, height * width * 3, 4). The anchors are ordered by row,
    then by column, then by ratio.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import RegionProposalNetwork
    >>> levels = [np.zeros((1, 4, 4, 8)), np.zeros((1, 2, 2, 8))]
    >>> objectness, deltas = RegionProposalNetwork(channels=8)(levels)
    >>> [tuple(logits.shape) for logits in objectness]
    [(1, 48), (1, 12)]

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
        return self.make(
            keras.layers.Conv2D,
            name,
            filters,
            size,
            padding="same",
            data_format="channels_last",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            **kwargs,
        )

    def build(self, input_shape: Sequence[tuple]) -> None:
        """Build the convolutions.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, channels) of the levels.
        """
        self.conv.build(input_shape[0])
        shape = (*input_shape[0][:3], self.channels)
        self.objectness.build(shape)
        self.deltas.build(shape)

    def call(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Predict the objectness logits and the deltas of all anchors.

        Args:
            inputs: list of Tensor. Maps (batch, height, width, channels) of the levels.

        Returns:
            Two lists with one tensor per level: objectness logits (batch, height * width * 3) and
            deltas (batch, height * width * 3, 4).
        """
        objectness, deltas = [], []
        for level in inputs:
            x = self.conv(level)
            patches = count_patches(x.shape)
            size = (ops.shape(x)[0], -1) if patches is None else (-1, patches * len(RATIOS))
            scores = ops.cast(self.objectness(x), self.variable_dtype)
            objectness.append(ops.reshape(scores, size))
            level_deltas = ops.cast(self.deltas(x), self.variable_dtype)
            deltas.append(ops.reshape(level_deltas, (*size, 4)))
        return objectness, deltas

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple[list, list]:
        """Return the shapes of the logits and the deltas, level by level.

        Args:
            input_shape: list of tuple. Shapes (batch, height, width, channels) of the levels.
        """
        patches = [count_patches(shape) for shape in input_shape]
        counts = [None if n is None else n * len(RATIOS) for n in patches]
        batch = input_shape[0][0]
        return [(batch, n) for n in counts], [(batch, n, 4) for n in counts]

    def compute_output_spec(self, inputs: Sequence[Any]) -> tuple[list, list]:
        """Return the shapes and types of the logits and the deltas, level by level.

        Args:
            inputs: list of KerasTensor. Maps (batch, height, width, channels) of the levels.
        """
        shapes = self.compute_output_shape([x.shape for x in inputs])
        return tuple(
            [keras.KerasTensor(shape, self.variable_dtype) for shape in group] for group in shapes
        )


def make_proposals(
    objectness: Sequence[Any],
    deltas: Sequence[Any],
    anchors: Sequence[Any],
    image_size: tuple,
    candidates: int = 1000,
    count: int = 1000,
    iou_threshold: float = 0.7,
) -> tuple[Any, Any]:
    """Return the best boxes of a region proposal network.

    Each level contributes the `candidates` boxes with the highest logits, and non-maximum
    suppression removes boxes that overlap a better box of the same level. The `count` best of the
    remaining boxes of all levels are returned. Boxes without area are dropped. Gradients don't
    flow through the result.

    Args:
        objectness: list of Tensor. Logits (batch, n) of each level.
        deltas: list of Tensor. Deltas (batch, n, 4) of each level.
        anchors: list of Tensor. Anchors (n, 4) of each level: left, top, right and bottom in
            pixels.
        image_size: tuple. (height, width) of the images in pixels.
        candidates: int. Number of boxes per level before the suppression.
        count: int. Number of boxes per image that are returned.
        iou_threshold: float. Intersection over union above which the suppression removes the box
            with the lower logit, in [0, 1].

    Returns:
        Boxes (batch, count, 4), in pixels, and their logits (batch, count), in descending order of
        the logits. If an image has fewer than `count` boxes, the remaining ones are zero and their
        logits are -inf.

    Example:
    >>> anchors = [level_anchors(2, 2, stride=8)]
    >>> objectness, deltas = [ops.zeros((1, 12))], [ops.zeros((1, 12, 4))]
    >>> boxes, logits = make_proposals(objectness, deltas, anchors, (16, 16), count=5)
    >>> tuple(boxes.shape), tuple(logits.shape)
    ((1, 5, 4), (1, 5))
    """
    boxes, scores = [], []
    for logits, level_deltas, anchor_boxes in zip(objectness, deltas, anchors, strict=True):
        logits, level_deltas = ops.stop_gradient(logits), ops.stop_gradient(level_deltas)
        n = ops.shape(logits)[1]
        k = min(candidates, n) if isinstance(n, int) else ops.minimum(candidates, n)
        best, index = ops.top_k(logits, k)
        level_deltas = ops.take_along_axis(level_deltas, ops.expand_dims(index, -1), axis=1)
        decoded = decode_boxes(level_deltas, ops.take(anchor_boxes, index, axis=0), image_size)
        has_area = ops.all(decoded[..., 2:] > decoded[..., :2], axis=-1)
        boxes.append(decoded)
        scores.append(ops.where(suppress(decoded, has_area, iou_threshold), best, -math.inf))
    # The padding makes sure that there are always `count` boxes.
    batch, dtype = ops.shape(boxes[0])[0], boxes[0].dtype
    scores.append(ops.full((batch, count), -math.inf, dtype=dtype))
    boxes.append(ops.zeros((batch, count, 4), dtype=dtype))
    scores, index = ops.top_k(ops.concatenate(scores, axis=1), count)
    boxes = ops.take_along_axis(ops.concatenate(boxes, axis=1), ops.expand_dims(index, -1), axis=1)
    return ops.where(ops.expand_dims(scores > -math.inf, -1), boxes, 0.0), scores
