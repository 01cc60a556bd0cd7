"""Operations on boxes (left, top, right, bottom): overlap, box deltas, non-maximum suppression."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

LARGEST_GROWTH = abs(math.log(16 / 1000))  # limit of |log(side / anchor's side)|


def areas(boxes: Any) -> Any:
    """Compute the areas of boxes.

    Args:
        boxes: Tensor of shape (..., 4): left, top, right and bottom.

    Returns:
        Tensor of shape (...). The area is 0 if a side is negative.

    Example:
    >>> ops.convert_to_numpy(areas(ops.convert_to_tensor([[1.0, 1.0, 3.0, 4.0]]))).tolist()
    [6.0]
    """
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(boxes: Any, others: Any) -> Any:
    """Compute the intersection over union of all pairs of boxes.

    Args:
        boxes: Tensor of shape (..., n, 4): left, top, right and bottom.
        others: Tensor of shape (..., m, 4).

    Returns:
        Tensor of shape (..., n, m), in [0, 1].

    Example:
    >>> iou = pairwise_iou([[0.0, 0.0, 2.0, 2.0]], [[0.0, 0.0, 2.0, 1.0], [2.0, 2.0, 4.0, 4.0]])
    >>> ops.convert_to_numpy(iou).tolist()
    [[0.5, 0.0]]
    """
    boxes, others = ops.convert_to_tensor(boxes), ops.convert_to_tensor(others)
    left, top, right, bottom = (
        # Four separate tensors (..., n, m), because a stacked one would need twice the memory.
        reduce(ops.expand_dims(boxes[..., i], -1), ops.expand_dims(others[..., i], -2))
        for i, reduce in enumerate((ops.maximum, ops.maximum, ops.minimum, ops.minimum))
    )
    both = ops.maximum(right - left, 0.0) * ops.maximum(bottom - top, 0.0)
    either = ops.expand_dims(areas(boxes), -1) + ops.expand_dims(areas(others), -2) - both
    return both / ops.maximum(either, 1e-6)


def encode_boxes(boxes: Any, anchors: Any, deviations: Sequence[float] = (1.0,) * 4) -> Any:
    """Compute the box deltas that turn anchors into boxes.

    For a box and an anchor with the centres (x, y) and (xa, ya), the widths w and wa and the
    heights h and ha, the deltas are

        ((x - xa) / wa, (y - ya) / ha, log(w / wa), log(h / ha)) / deviations.

    Args:
        boxes: Tensor of shape (..., 4): left, top, right and bottom.
        anchors: Tensor of shape (..., 4).
        deviations: Sequence of float. Standard deviations by which the four deltas are divided.

    Returns:
        Tensor of shape (..., 4).

    Example:
    >>> deltas = encode_boxes([[4.0, 0.0, 8.0, 8.0]], [[0.0, 0.0, 4.0, 8.0]])
    >>> ops.convert_to_numpy(deltas).tolist()
    [[1.0, 0.0, 0.0, 0.0]]
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
    """Apply box deltas to anchors. This is the inverse of `encode_boxes`.

    The sides of a box are at most 62.5 times as long as those of its anchor, and at least 1 / 62.5
    times. Boxes are clipped to the image.

    Args:
        deltas: Tensor of shape (..., 4).
        anchors: Tensor of shape (..., 4): left, top, right and bottom in pixels.
        image_size: tuple. (height, width) of the image in pixels.
        deviations: Sequence of float. Standard deviations by which the four deltas are multiplied.

    Returns:
        Tensor of shape (..., 4): left, top, right and bottom in pixels.

    Example:
    >>> boxes = decode_boxes([[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 4.0, 8.0]], image_size=(8, 6))
    >>> ops.convert_to_numpy(boxes).tolist()
    [[4.0, 0.0, 6.0, 8.0]]
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
    """Clip boxes to the image.

    Args:
        boxes: Tensor of shape (..., 4): left, top, right and bottom in pixels.
        image_size: tuple. (height, width) of the image in pixels.

    Returns:
        Tensor of shape (..., 4).

    Example:
    >>> boxes = clip_boxes(ops.convert_to_tensor([[-1.0, 2.0, 5.0, 9.0]]), image_size=(8, 4))
    >>> ops.convert_to_numpy(boxes).tolist()
    [[0.0, 2.0, 4.0, 8.0]]
    """
    height, width = (ops.cast(side, boxes.dtype) for side in image_size)
    limit = ops.stack([width, height, width, height])
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def _centres(boxes: Any) -> tuple[Any, Any, Any, Any]:
    """Return (x, y, width, height) of boxes. Sides are at least 1e-3, as their log is taken."""
    boxes = ops.convert_to_tensor(boxes)
    left, top, right, bottom = (boxes[..., i] for i in range(4))
    width, height = ops.maximum(right - left, 1e-3), ops.maximum(bottom - top, 1e-3)
    return (left + right) / 2, (top + bottom) / 2, width, height


def suppress(boxes: Any, valid: Any, iou_threshold: float, groups: Any = None) -> Any:
    """Say which boxes greedy non-maximum suppression keeps.

    A box is kept if no kept box before it overlaps it by more than the threshold. The function
    applies this rule to all boxes at once and repeats it until nothing changes. Each repetition
    decides at least one more box; in practice a few repetitions decide all.

    Args:
        boxes: Tensor of shape (..., n, 4): left, top, right and bottom, the best box first.
        valid: Tensor of shape (..., n), booleans. Boxes that aren't valid are neither kept nor do
            they suppress others.
        iou_threshold: float. Intersection over union above which a box suppresses another, in
            [0, 1].
        groups: Tensor of shape (..., n), such as the classes of the boxes. A box suppresses boxes
            of its own group only. `None` puts all boxes into one group.

    Returns:
        Tensor of shape (..., n), booleans.

    Example:
    >>> boxes = [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [4.0, 4.0, 8.0, 8.0]]
    >>> kept = suppress(ops.convert_to_tensor(boxes), ops.ones(3, "bool"), iou_threshold=0.5)
    >>> ops.convert_to_numpy(kept).tolist()
    [True, False, True]
    """
    number = ops.arange(ops.shape(boxes)[-2])
    before = ops.expand_dims(number, 1) < ops.expand_dims(number, 0)  # (n, n): j before i
    suppresses = ops.logical_and(pairwise_iou(boxes, boxes) > iou_threshold, before)
    if groups is not None:
        same_group = ops.expand_dims(groups, -1) == ops.expand_dims(groups, -2)
        suppresses = ops.logical_and(suppresses, same_group)
    suppresses = ops.cast(suppresses, keras.config.floatx())  # (..., j, i): j suppresses i
    valid = ops.cast(valid, keras.config.floatx())

    def rule(kept: Any) -> Any:
        suppressors = ops.matmul(ops.expand_dims(kept, -2), suppresses)[..., 0, :]
        return valid * ops.cast(suppressors < 0.5, keras.config.floatx())

    def step(kept: Any, changed: Any) -> tuple[Any, Any]:
        updated = rule(kept)
        return updated, ops.any(updated != kept)

    kept, _ = ops.while_loop(lambda kept, changed: changed, step, (valid, ops.any(valid > 0.5)))
    return kept > 0.5
