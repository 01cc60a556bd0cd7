"""What a detector's outputs should be: which boxes are objects, a sample of them, their masks."""

from typing import Any

import keras
from keras import ops

from keras_paca.detection.boxes import pairwise_iou
from keras_paca.detection.roi_align import sample_weights

MASK_CHUNK = 8  # masks at a time: each is as large as the image


def assign(
    boxes: Any,
    objects: Any,
    present: Any,
    positive: float,
    negative: float,
    least: float,
) -> tuple[Any, Any, Any]:
    """Say which boxes are objects, which are background, and which neither.

    A box is its best object from the overlap `positive` on, background under `negative`. Each
    object also takes the boxes that overlap it most, from the overlap `least` on.

    Args:
        boxes: (b, n, 4).
        objects: (b, m, 4), the true boxes.
        present: (b, m), booleans: which objects are real and not padding.
        positive: intersection over union from which a box is an object.
        negative: intersection over union under which a box is background.
        least: of the boxes that an object takes as its best.

    Returns:
        (b, n) booleans of the positive and of the negative ones, and the index of their object.
    """
    iou = ops.where(present[..., None], pairwise_iou(objects, boxes), -1.0)  # (b, m, n)
    best = ops.max(iou, axis=1)
    index = ops.cast(ops.argmax(iou, axis=1), "int32")
    is_positive = best >= positive
    most = ops.max(iou, axis=2, keepdims=True)
    taken = ops.logical_and(iou == most, most >= least)
    number = ops.expand_dims(ops.arange(1, ops.shape(objects)[1] + 1, dtype="int32"), 1)
    last = ops.max(ops.where(taken, number, 0), axis=1)  # of the objects that take the box, plus 1
    index = ops.where(last > 0, last - 1, index)
    is_positive = ops.logical_or(is_positive, last > 0)
    is_negative = ops.logical_and(best < negative, ops.logical_not(is_positive))
    return is_positive, is_negative, index


def sample(
    positive: Any, negative: Any, count: int, fraction: float, seed: Any
) -> tuple[Any, Any, Any]:
    """Draw a sample of boxes, at most a fraction of them positive, the rest negative.

    Args:
        positive: (b, n), booleans.
        negative: (b, n), booleans.
        count: size of the sample.
        fraction: largest share of positive ones.
        seed: a `keras.random.SeedGenerator`.

    Returns:
        Index (b, count) of the sample's boxes, the positive ones first, and booleans (b, count):
        which are positive, and which are in the sample at all.
    """
    keys = keras.random.uniform(ops.shape(positive), seed=seed)
    # padding, so that there are always enough to draw from
    none = ops.full((ops.shape(positive)[0], count), -1.0)
    last = ops.shape(positive)[1] - 1

    def draw(mask: Any, number: int) -> tuple[Any, Any]:
        drawn = ops.concatenate([ops.where(mask, keys, -1.0), none], axis=1)
        key, index = ops.top_k(drawn, number)
        return key >= 0.0, ops.minimum(index, last)

    is_positive, positive_index = draw(positive, int(count * fraction))
    is_negative, negative_index = draw(negative, count)
    order = ops.concatenate(
        [
            2.0 * ops.cast(is_positive, keras.config.floatx()),
            ops.cast(is_negative, keras.config.floatx()),
        ],
        axis=1,
    )
    order, chosen = ops.top_k(order, count)
    index = ops.concatenate([positive_index, negative_index], axis=1)
    return ops.take_along_axis(index, chosen, axis=1), order > 1.5, order > 0.5


def crop_masks(masks: Any, index: Any, boxes: Any, size: int) -> Any:
    """Return the masks of objects inside boxes, on a grid of size x size.

    Args:
        masks: (b, m, height, width), booleans, or numbers that are 0 outside the object; or an
            instance map (b, height, width) that holds i + 1 where object i is.
        index: (b, n), the object of each box.
        boxes: (b, n, 4).
        size: rows and columns of the grid.

    Returns:
        (b, n, size, size), 0.0 or 1.0.
    """
    boxes, index = ops.convert_to_tensor(boxes), ops.convert_to_tensor(index)
    height, width = ops.shape(masks)[-2], ops.shape(masks)[-1]
    parts = []
    for start in range(0, boxes.shape[1], MASK_CHUNK):
        of = index[:, start : start + MASK_CHUNK, None, None]
        part = boxes[:, start : start + MASK_CHUNK]
        if len(masks.shape) == 3:
            chosen = ops.expand_dims(ops.cast(masks, "int32"), 1) == of + 1  # (b, n, h, w)
        else:
            chosen = ops.cast(ops.take_along_axis(masks, of, axis=1), "bool")
        place = part - 0.5
        rows = sample_weights(place[..., 1], place[..., 3], size, height, ops.arange(height))
        columns = sample_weights(place[..., 0], place[..., 2], size, width, ops.arange(width))
        values = ops.einsum("bnph,bnhw->bnpw", rows, ops.cast(chosen, keras.config.floatx()))
        parts.append(ops.einsum("bnqw,bnpw->bnpq", columns, values))
    return ops.cast(ops.concatenate(parts, axis=1) >= 0.5, keras.config.floatx())
