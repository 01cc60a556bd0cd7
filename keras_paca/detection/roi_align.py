"""RoIAlign over the levels of a feature pyramid, as one matrix product per box."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

FINEST = 56  # boxes up to twice this side, in pixels, are read from the finest level
CHUNK = 64  # boxes at a time: each takes `largest_window` x channels numbers
NEAR = 4  # samples whose interpolation can reach one patch: they lie more than half a patch apart


def roi_align(levels: Sequence[Any], boxes: Any, bins: int, strides: Sequence[int]) -> Any:
    """Return what each box contains, on a grid of bins x bins.

    The value of a bin is the mean over its samples of the map, interpolated bilinearly. There are
    ceil(side of the bin in patches) samples per axis, however many that are, so that no patch is
    passed over. As bilinear interpolation and the mean are linear, a bin is a weighted sum of the
    patches under the box: those are gathered, in as many places as the largest box of any aspect
    can need, and multiplied by the weights.

    The level of a box is floor(log2(sqrt(area) / 56)), cut at the levels that there are. The
    gradient reaches the maps, not the boxes.

    Args:
        levels: maps (b, h, w, c), the finest first.
        boxes: (b, n, 4), left, top, right, bottom in pixels of the image. More than one patch
            outside it, the maps are 0.
        bins: bins per side.
        strides: pixels between two patches, level by level.

    Returns:
        (b, n, bins, bins, c) in the maps' type; 0 for boxes without area.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3; with half a patch of offset, as the
    official code ("aligned").
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
    """Return how many patches a box can touch at most, at the level that it is read from.

    A box of w x h patches touches at most (w + 3) (h + 3). Its area is bounded by its level, but
    for the coarsest, so that the most are touched by one as long as the map.
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
    """Return the largest size, an integer where all are."""
    if all(isinstance(size, int) for size in sizes):
        return max(sizes)
    return ops.max(ops.stack([ops.cast(size, "int32") for size in sizes]))


def box_levels(boxes: Any, count: int) -> Any:
    """Return the level (...) that boxes (..., 4) are read from, from 0 for the finest."""
    boxes = ops.convert_to_tensor(boxes)
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    level = ops.floor(ops.log2(side / FINEST + 1e-6))
    return ops.cast(ops.clip(level, 0, count - 1), "int32")


def _touched(low: Any, high: Any, size: Any) -> tuple[Any, Any]:
    """Return the first of the rows that boxes touch, and how many they are, both (b, n)."""
    first = ops.minimum(ops.cast(ops.floor(ops.maximum(low, 0.0)), "int32"), size - 1)
    last = ops.minimum(ops.cast(ops.floor(ops.maximum(high, 0.0)), "int32") + 1, size - 1)
    return first, ops.maximum(last - first + 1, 1)


def sample_weights(low: Any, high: Any, bins: int, size: Any, rows: Any) -> Any:
    """Return the weight of rows in the bins of boxes, (b, n, bins, k).

    Args:
        low: where the boxes start along this axis, (b, n), in rows of the map.
        high: where they end.
        bins: bins.
        size: rows of the map. A sample up to one row beyond the first or the last takes that one;
            further out it is 0.
        rows: (b, n, k), or (k,) for the same in each box.
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
        at = first + number * gap
        counts = ops.logical_and(at >= -1.0, at <= last + 1.0)
        counts = ops.logical_and(counts, number < samples[..., None, None])
        weight = ops.maximum(1.0 - ops.abs(ops.clip(at, 0.0, last) - rows), 0.0)
        total = total + ops.where(counts, weight, 0.0)
    return total / count
