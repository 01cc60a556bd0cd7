"""RoIAlign on the levels of a feature pyramid, computed as one matrix product per box."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

FINEST = 56  # Boxes with sides of up to twice this many pixels are pooled from the finest level.
CHUNK = 64  # boxes that are processed at once, each of which needs `largest_window` x channels
NEAR = 4  # number of samples that can depend on one patch, as they are over half a patch apart


def roi_align(levels: Sequence[Any], boxes: Any, bins: int, strides: Sequence[int]) -> Any:
    """Pool the features inside each box to a grid of bins x bins (RoIAlign).

    The value of a bin is the mean of the map, interpolated bilinearly, at sample points inside the
    bin. Each axis has ceil(side of the bin in patches) sample points, without an upper limit, so
    that no patch is skipped. As bilinear interpolation and the mean are linear, the value is a
    weighted sum of the patches under the box. The function gathers these patches and multiplies
    them by the weights; it gathers as many for each box as the largest box needs.

    A box is pooled from the level floor(log2(sqrt(area) / 56)), limited to the levels that exist,
    where 0 is the finest. Gradients flow to the maps and not to the boxes.

    Args:
        levels: list of Tensor. Maps (batch, height, width, channels), the finest first.
        boxes: Tensor. Left, top, right and bottom in pixels of the image, of shape (batch, n, 4).
            Sample points more than one patch outside the map have the value 0.
        bins: int. Number of bins per side.
        strides: Sequence of int. Pixels between two neighbouring patches of each level.

    Returns:
        Tensor of shape (batch, n, bins, bins, channels), with the dtype of the maps. It is 0 for
        boxes without area.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import roi_align
    >>> levels = [np.ones((1, 16, 16, 3)), np.ones((1, 8, 8, 3))]
    >>> boxes = np.array([[[0, 0, 32, 48], [8, 8, 16, 16]]])
    >>> tuple(roi_align(levels, boxes, bins=7, strides=(4, 8)).shape)
    (1, 2, 7, 7, 3)

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3. Like the official code ("aligned"), it
    shifts the boxes by half a patch.
    """
    floatx = keras.config.floatx()
    boxes = ops.stop_gradient(ops.cast(boxes, floatx))
    levels = [ops.convert_to_tensor(features) for features in levels]
    batch, channels = ops.shape(levels[0])[0], levels[0].shape[-1]
    sides = [ops.shape(features)[1:3] for features in levels]
    patches = [ops.reshape(features, (batch, -1, channels)) for features in levels]
    patches = ops.concatenate(patches, axis=1)  # (b, all, c)
    starts = [0]
    for height, width in sides:
        starts.append(starts[-1] + height * width)
    images = ops.expand_dims(ops.arange(batch, dtype="int32"), (1, 2)) * starts[-1]
    patches = ops.reshape(patches, (-1, channels))
    places = largest_window(sides, strides)
    place = ops.arange(places, dtype="int32")  # (k,)

    level = box_levels(boxes, len(levels))
    height, width, start = (
        ops.take(ops.cast(ops.stack(values), "int32"), level)
        for values in ([h for h, _ in sides], [w for _, w in sides], starts[:-1])
    )
    boxes = boxes / ops.take(ops.cast(strides, floatx), level)[..., None] - 0.5
    outputs = []
    for first in range(0, boxes.shape[1], CHUNK):
        part = slice(first, first + CHUNK)
        left, top, right, bottom = (boxes[:, part, i] for i in range(4))
        h, w = height[:, part], width[:, part]
        first_row, _ = _touched(top, bottom, h)
        first_column, columns = _touched(left, right, w)
        row = first_row[..., None] + place // columns[..., None]  # (b, n, k)
        column = first_column[..., None] + place % columns[..., None]
        inside = row < h[..., None]
        weights = ops.expand_dims(sample_weights(top, bottom, bins, h, row), 3)  # (b, n, p, 1, k)
        weights = weights * ops.expand_dims(sample_weights(left, right, bins, w, column), 2)
        weights = ops.where(ops.expand_dims(inside, (2, 3)), weights, 0.0)  # (b, n, p, q, k)
        index = start[:, part, None] + row * w[..., None] + column
        index = images + ops.where(inside, index, 0)
        gathered = ops.take(patches, ops.reshape(index, (-1,)), axis=0)
        gathered = ops.reshape(gathered, (batch, -1, places, channels))  # (b, n, k, c)
        weights = ops.reshape(weights, (batch, -1, bins * bins, places))
        outputs.append(ops.matmul(ops.cast(weights, gathered.dtype), gathered))
    size = (-1, boxes.shape[1], bins, bins, channels)
    return ops.reshape(ops.concatenate(outputs, axis=1), size)


def largest_window(sides: Sequence[tuple], strides: Sequence[int]) -> Any:
    """Compute the largest number of patches that a box can touch on its level.

    A box of w x h patches touches at most (w + 3) * (h + 3) patches. On all levels but the
    coarsest, the area of a box is bounded, and the box that touches the most patches is as long as
    the map.

    Args:
        sides: Sequence of tuple. (height, width) of each level's map.
        strides: Sequence of int. Pixels between two neighbouring patches of each level.

    Returns:
        int, or a scalar tensor if the sizes are tensors.

    Example:
    >>> largest_window([(16, 16), (8, 8)], strides=(4, 8))
    256
    """
    counts = [height * width for height, width in sides]
    bounds = [counts[-1]]
    for number, (height, width) in enumerate(sides[:-1]):
        area = (2 ** (number + 1) * FINEST) ** 2 // strides[number] ** 2 + 1
        longest = _maximum(height, width)
        touched = area + 3 * (longest + area // longest + 1) + 9
        bounds.append(-_maximum(-touched, -counts[number]))
    return _maximum(*bounds)


def _maximum(*sizes: Any) -> Any:
    """Return the largest size, as an integer if all sizes are integers."""
    if all(isinstance(size, int) for size in sizes):
        return max(sizes)
    return ops.max(ops.stack([ops.cast(size, "int32") for size in sizes]))


def box_levels(boxes: Any, count: int) -> Any:
    """Choose the level of the feature pyramid from which each box is pooled.

    Args:
        boxes: Tensor of shape (..., 4): left, top, right and bottom in pixels.
        count: int. Number of levels.

    Returns:
        Tensor of shape (...), int32: indices of levels, where 0 is the finest.

    Example:
    >>> boxes = ops.convert_to_tensor([[0.0, 0.0, 50.0, 50.0], [0.0, 0.0, 300.0, 300.0]])
    >>> ops.convert_to_numpy(box_levels(boxes, count=4)).tolist()
    [0, 2]
    """
    boxes = ops.convert_to_tensor(boxes)
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    level = ops.floor(ops.log2(side / FINEST + 1e-6))
    return ops.cast(ops.clip(level, 0, count - 1), "int32")


def _touched(low: Any, high: Any, size: Any) -> tuple[Any, Any]:
    """Return the index of the first row that each box touches and the number of rows, (b, n)."""
    first = ops.minimum(ops.cast(ops.floor(ops.maximum(low, 0.0)), "int32"), size - 1)
    last = ops.minimum(ops.cast(ops.floor(ops.maximum(high, 0.0)), "int32") + 1, size - 1)
    return first, ops.maximum(last - first + 1, 1)


def sample_weights(low: Any, high: Any, bins: int, size: Any, rows: Any) -> Any:
    """Compute the weights with which rows of a map contribute to the bins of boxes.

    The function treats one axis. It serves columns in the same way.

    Args:
        low: Tensor of shape (batch, n). Start of each box along the axis, in rows of the map.
        high: Tensor of shape (batch, n). End of each box.
        bins: int. Number of bins.
        size: int or tensor. Number of rows of the map. A sample point up to one row before the
            first or after the last row has the value of that row; further away its value is 0.
        rows: Tensor of shape (batch, n, k), or (k,) if all boxes have the same. Indices of rows.

    Returns:
        Tensor of shape (batch, n, bins, k).

    Example:
    >>> low, high = ops.convert_to_tensor([[0.5]]), ops.convert_to_tensor([[2.5]])
    >>> weights = sample_weights(low, high, bins=1, size=4, rows=ops.arange(4))
    >>> ops.convert_to_numpy(weights).tolist()
    [[[[0.0, 0.5, 0.5, 0.0]]]]
    """
    floatx = keras.config.floatx()
    last = ops.cast(size, floatx) - 1.0
    last = last[..., None, None] if len(last.shape) else last
    rows = ops.cast(rows, floatx)
    rows = ops.expand_dims(rows, -2) if len(rows.shape) > 1 else rows  # (b, n, 1, k)
    step = (high - low) / bins
    samples = ops.ceil(step)  # (b, n)
    count = ops.maximum(samples, 1.0)[..., None, None]
    gap = step[..., None, None] / count
    bin_number = ops.expand_dims(ops.arange(bins, dtype=floatx), 1)  # (bins, 1)
    first = low[..., None, None] + bin_number * step[..., None, None] + gap / 2
    nearest = ops.maximum(ops.ceil((rows - 1.0 - first) / ops.maximum(gap, 1e-6)), 0.0)
    total = 0.0
    for i in range(NEAR):
        number = nearest + i
        position = first + number * gap
        is_valid = ops.logical_and(position >= -1.0, position <= last + 1.0)
        is_valid = ops.logical_and(is_valid, number < samples[..., None, None])
        weight = ops.maximum(1.0 - ops.abs(ops.clip(position, 0.0, last) - rows), 0.0)
        total = total + ops.where(is_valid, weight, 0.0)
    return total / count
