"""RoIAlign over the levels of a feature pyramid, as matrix products."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

FINEST = 56  # boxes up to twice this side, in pixels, are read from the finest level
CHUNK = 64  # boxes at a time: each takes bins x width x channels numbers between the products


def roi_align(levels: Sequence[Any], boxes: Any, bins: int, strides: Sequence[int]) -> Any:
    """Return what each box contains, on a grid of bins x bins.

    The value of a bin is the mean over its samples of the map, interpolated bilinearly. There are
    ceil(side of the bin in patches) samples per axis, however many that are, so that no patch is
    passed over. As bilinear interpolation and the mean are products over the axes, so is the
    whole, R F C', with one matrix of row weights and one of column weights per box.

    The level of a box is floor(log2(sqrt(area) / 56)), cut at the levels that there are. The
    gradient reaches the maps, not the boxes.

    Args:
        levels: maps (b, h, w, c), the finest first.
        boxes: (b, n, 4), left, top, right, bottom in pixels of the image, inside it.
        bins: bins per side.
        strides: pixels between two patches, level by level.

    Returns:
        (b, n, bins, bins, c) in the maps' type; 0 for boxes without area.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3; with half a patch of offset, as the
    official code ("aligned").
    """
    boxes = ops.stop_gradient(ops.cast(boxes, keras.config.floatx()))
    levels = [ops.convert_to_tensor(features) for features in levels]
    level = box_levels(boxes, len(levels))
    outputs = []
    for start in range(0, boxes.shape[1], CHUNK):
        part, where = boxes[:, start : start + CHUNK], level[:, start : start + CHUNK]
        total = None
        for number, (features, stride) in enumerate(zip(levels, strides, strict=True)):
            here = ops.cast(where == number, keras.config.floatx())[..., None, None]  # (b, n, 1, 1)
            height, width = ops.shape(features)[1], ops.shape(features)[2]
            rows = here * sample_weights(part[..., 1], part[..., 3], bins, height, stride)
            columns = sample_weights(part[..., 0], part[..., 2], bins, width, stride)
            values = weighted_sum(features, rows, columns)
            total = values if total is None else total + values
        outputs.append(total)
    return ops.concatenate(outputs, axis=1)


def box_levels(boxes: Any, count: int) -> Any:
    """Return the level (...) that boxes (..., 4) are read from, from 0 for the finest."""
    boxes = ops.convert_to_tensor(boxes)
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    side = ops.sqrt(sides[..., 0] * sides[..., 1])
    level = ops.floor(ops.log2(side / FINEST + 1e-6))
    return ops.cast(ops.clip(level, 0, count - 1), "int32")


def sample_weights(low: Any, high: Any, bins: int, size: Any, stride: int) -> Any:
    """Return the weight of each row in each bin, (b, n, bins, size).

    Args:
        low: where the boxes start along this axis, (b, n), in pixels of the image.
        high: where they end.
        bins: bins.
        size: rows of the map.
        stride: pixels between two rows.
    """
    start = low / stride - 0.5
    step = (high - low) / stride / bins  # (b, n)
    samples = ops.ceil(step)
    place = ops.cast(ops.arange(size), keras.config.floatx())
    last = ops.cast(size - 1, keras.config.floatx())
    first = start[..., None] + ops.cast(ops.arange(bins), keras.config.floatx()) * step[..., None]

    def add(i: Any, total: Any) -> tuple[Any, Any]:
        number = ops.cast(i, keras.config.floatx())
        offset = (number + 0.5) * step / ops.maximum(samples, 1.0)
        at = first + offset[..., None]  # (b, n, bins)
        inside = ops.logical_and(at >= -1.0, at <= last + 1.0)
        inside = ops.logical_and(inside, (number < samples)[..., None])
        at = ops.clip(at, 0.0, last)
        near = ops.maximum(1.0 - ops.abs(at[..., None] - place), 0.0)  # (b, n, bins, size)
        return i + 1, total + ops.where(inside[..., None], near, 0.0)

    _, total = ops.while_loop(
        lambda i, total: ops.cast(i, keras.config.floatx()) < ops.max(samples),
        add,
        (ops.convert_to_tensor(0, dtype="int32"), 0.0 * first[..., None] * place),
    )
    return total / ops.maximum(samples, 1.0)[..., None, None]


def weighted_sum(features: Any, rows: Any, columns: Any) -> Any:
    """Return R F C' per box: (b, n, p, q, c) of (b, h, w, c), (b, n, p, h) and (b, n, q, w)."""
    rows, columns = ops.cast(rows, features.dtype), ops.cast(columns, features.dtype)
    values = ops.einsum("bnph,bhwc->bnpwc", rows, features)
    return ops.einsum("bnqw,bnpwc->bnpqc", columns, values)
