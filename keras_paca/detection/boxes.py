"""Boxes (left, top, right, bottom) in pixels: overlap, their coding as deltas, suppression."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

LARGEST_GROWTH = abs(math.log(16 / 1000))  # of the logarithm of a side


def areas(boxes: Any) -> Any:
    """Return the areas (...) of boxes (..., 4), 0 where a side is negative."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes: Any, others: Any) -> Any:
    """Return the intersection over union (..., n, m) of boxes (..., n, 4) and (..., m, 4)."""
    boxes, others = ops.convert_to_tensor(boxes), ops.convert_to_tensor(others)
    left, top, right, bottom = (
        # side by side, each (..., n, m): stacked they would take twice the memory
        reduce(ops.expand_dims(boxes[..., i], -1), ops.expand_dims(others[..., i], -2))
        for i, reduce in enumerate((ops.maximum, ops.maximum, ops.minimum, ops.minimum))
    )
    both = ops.maximum(right - left, 0.0) * ops.maximum(bottom - top, 0.0)
    either = ops.expand_dims(areas(boxes), -1) + ops.expand_dims(areas(others), -2) - both
    return both / ops.maximum(either, 1e-6)


def encode_boxes(boxes: Any, anchors: Any, deviations: Sequence[float] = (1.0,) * 4) -> Any:
    """Return the deltas (..., 4) that turn anchors into boxes.

    (dx, dy, dw, dh) = ((x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)) / deviations, of
    the centres and sides.
    """
    x, y, width, height = _centres(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centres(anchors)
    deltas = (
        (x - anchor_x) / anchor_width,
        (y - anchor_y) / anchor_height,
        ops.log(width / anchor_width),
        ops.log(height / anchor_height),
    )
    return ops.stack([d / s for d, s in zip(deltas, deviations, strict=True)], axis=-1)


def decode_boxes(
    deltas: Any, anchors: Any, image_size: tuple, deviations: Sequence[float] = (1.0,) * 4
) -> Any:
    """Return the boxes (..., 4) of deltas (..., 4), the inverse of `encode_boxes`.

    Sides grow at most 62.5-fold, and boxes end at the image.

    Args:
        deltas: (..., 4).
        anchors: (..., 4).
        image_size: (height, width).
        deviations: of the deltas.
    """
    deltas = ops.convert_to_tensor(deltas)
    dx, dy, dw, dh = (deltas[..., i] * deviations[i] for i in range(4))
    anchor_x, anchor_y, anchor_width, anchor_height = _centres(anchors)
    x, y = anchor_x + dx * anchor_width, anchor_y + dy * anchor_height
    dw, dh = (ops.clip(d, -LARGEST_GROWTH, LARGEST_GROWTH) for d in (dw, dh))
    half_width, half_height = anchor_width * ops.exp(dw) / 2, anchor_height * ops.exp(dh) / 2
    sides = (x - half_width, y - half_height, x + half_width, y + half_height)
    return clip_boxes(ops.stack(sides, axis=-1), image_size)


def clip_boxes(boxes: Any, image_size: tuple) -> Any:
    """Return boxes (..., 4) cut at the image of (height, width)."""
    height, width = (ops.cast(side, boxes.dtype) for side in image_size)
    limit = ops.stack([width, height, width, height])
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def _centres(boxes: Any) -> tuple[Any, Any, Any, Any]:
    """Return (x, y, width, height); sides from 1e-3, so that empty boxes have logarithms."""
    boxes = ops.convert_to_tensor(boxes)
    left, top, right, bottom = (boxes[..., i] for i in range(4))
    width, height = ops.maximum(right - left, 1e-3), ops.maximum(bottom - top, 1e-3)
    return (left + right) / 2, (top + bottom) / 2, width, height


def suppress(boxes: Any, valid: Any, iou_threshold: float, groups: Any = None) -> Any:
    """Return which boxes greedy non-maximum suppression keeps.

    A box is kept where no kept box before it overlaps it by more than the threshold. That is a
    fixed point, found by repeating the rule for all boxes at once; each repetition settles at
    least one more of them, and in practice a few settle all.

    Args:
        boxes: (..., n, 4), the best first.
        valid: (..., n), booleans: which take part.
        iou_threshold: intersection over union above which boxes compete.
        groups: (..., n), such as classes: only boxes of one group compete; `None` for one group.

    Returns:
        (..., n), booleans.
    """
    number = ops.arange(ops.shape(boxes)[-2])
    before = ops.expand_dims(number, 1) < ops.expand_dims(number, 0)  # (n, n): j before i
    competes = ops.logical_and(pairwise_iou(boxes, boxes) > iou_threshold, before)
    if groups is not None:
        same = ops.expand_dims(groups, -1) == ops.expand_dims(groups, -2)
        competes = ops.logical_and(competes, same)
    competes = ops.cast(competes, keras.config.floatx())  # (..., j, i)
    valid = ops.cast(valid, keras.config.floatx())

    def rule(kept: Any) -> Any:
        rivals = ops.matmul(ops.expand_dims(kept, -2), competes)[..., 0, :]
        return valid * ops.cast(rivals < 0.5, keras.config.floatx())

    def settle(kept: Any, changed: Any) -> tuple[Any, Any]:
        again = rule(kept)
        return again, ops.any(again != kept)

    kept, _ = ops.while_loop(lambda kept, changed: changed, settle, (valid, ops.any(valid > 0.5)))
    return kept > 0.5
