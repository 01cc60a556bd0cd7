"""Training targets of a detector: matching boxes to objects, sampling boxes, cropping masks."""

from typing import Any

import keras
from keras import ops

from keras_paca.detection.boxes import pairwise_iou
from keras_paca.detection.roi_align import sample_weights

MASK_CHUNK = 8  # masks that are processed at once, each of which is as large as the image


def assign(
    boxes: Any,
    objects: Any,
    present: Any,
    positive: float,
    negative: float,
    least: float,
) -> tuple[Any, Any, Any]:
    """Match boxes to objects: each box is positive, negative or neither.

    A box is matched to the object with which it has the largest intersection over union (IoU). It
    is positive if this IoU is at least `positive`, and negative if it is less than `negative`.
    In addition, the box with the largest IoU with an object is positive for that object if the IoU
    is at least `least`; if several boxes share the largest IoU, all of them are.

    Args:
        boxes: Tensor of shape (batch, n, 4): left, top, right and bottom.
        objects: Tensor of shape (batch, m, 4). The true boxes.
        present: Tensor of shape (batch, m), booleans. `False` for padding.
        positive: float. Least IoU of a positive box.
        negative: float. IoU below which a box is negative.
        least: float. Least IoU at which the best boxes of an object are positive.

    Returns:
        Three tensors of shape (batch, n): booleans of the positive boxes, booleans of the negative
        boxes, and the index of the object to which each box is matched.

    Example:
    >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 4.0, 4.0], [8.0, 8.0, 9.0, 9.0]]])
    >>> objects, present = boxes[:, :1], ops.ones((1, 1), "bool")
    >>> positive, negative, _ = assign(boxes, objects, present, 0.7, 0.3, 0.3)
    >>> ops.convert_to_numpy(positive).tolist(), ops.convert_to_numpy(negative).tolist()
    ([[True, False]], [[False, True]])
    """
    iou = ops.where(present[..., None], pairwise_iou(objects, boxes), -1.0)  # (b, m, n)
    best = ops.max(iou, axis=1)
    index = ops.cast(ops.argmax(iou, axis=1), "int32")
    is_positive = best >= positive
    largest = ops.max(iou, axis=2, keepdims=True)
    is_best_box = ops.logical_and(iou == largest, largest >= least)
    number = ops.expand_dims(ops.arange(1, ops.shape(objects)[1] + 1, dtype="int32"), 1)
    # 1 + the index of the last object for which a box is the best, or 0 if there is none
    last = ops.max(ops.where(is_best_box, number, 0), axis=1)
    index = ops.where(last > 0, last - 1, index)
    is_positive = ops.logical_or(is_positive, last > 0)
    is_negative = ops.logical_and(best < negative, ops.logical_not(is_positive))
    return is_positive, is_negative, index


def sample(
    positive: Any, negative: Any, count: int, fraction: float, seed: Any
) -> tuple[Any, Any, Any]:
    """Draw a random sample of positive and negative boxes for each image.

    The sample has at most `count * fraction` positive boxes. The others are negative.

    Args:
        positive: Tensor of shape (batch, n), booleans. The positive boxes.
        negative: Tensor of shape (batch, n), booleans. The negative boxes.
        count: int. Size of the sample.
        fraction: float. Largest share of positive boxes in the sample, in [0, 1].
        seed: keras.random.SeedGenerator. Source of the random numbers.

    Returns:
        Three tensors of shape (batch, count): the indices of the boxes in the sample, positive
        boxes first; booleans that say which of them are positive; and booleans that are `False` for
        padding, which is needed if an image has too few boxes.

    Example:
    >>> positive = ops.convert_to_tensor([[False, True, False]])
    >>> seed = keras.random.SeedGenerator(0)
    >>> index, _, used = sample(positive, ops.logical_not(positive), 2, 0.5, seed)
    >>> int(index[0, 0]), ops.convert_to_numpy(used).tolist()
    (1, [[True, True]])
    """
    keys = keras.random.uniform(ops.shape(positive), seed=seed)
    # The padding makes sure that there are always enough entries to draw from.
    padding = ops.full((ops.shape(positive)[0], count), -1.0)
    last = ops.shape(positive)[1] - 1

    def draw(mask: Any, number: int) -> tuple[Any, Any]:
        drawn = ops.concatenate([ops.where(mask, keys, -1.0), padding], axis=1)
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
    """Crop the masks of objects to boxes, and resize them to a grid.

    Args:
        masks: Tensor of shape (batch, m, height, width), booleans, or numbers that are 0 outside
            the object; or an instance map (batch, height, width) that is i + 1 inside object i.
        index: Tensor of shape (batch, n), integers. Index of each box's object.
        boxes: Tensor of shape (batch, n, 4): left, top, right and bottom in pixels.
        size: int. Number of rows and of columns of the grid.

    Returns:
        Tensor of shape (batch, n, size, size), with the values 0.0 and 1.0.

    Example:
    >>> masks = ops.ones((1, 1, 8, 8), "bool")
    >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 4.0, 4.0]]])
    >>> ops.convert_to_numpy(crop_masks(masks, ops.zeros((1, 1), "int32"), boxes, 2)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    boxes, index = ops.convert_to_tensor(boxes), ops.convert_to_tensor(index)
    height, width = ops.shape(masks)[-2], ops.shape(masks)[-1]
    parts = []
    for start in range(0, boxes.shape[1], MASK_CHUNK):
        object_index = index[:, start : start + MASK_CHUNK, None, None]
        part = boxes[:, start : start + MASK_CHUNK]
        if len(masks.shape) == 3:
            # (b, n, h, w)
            chosen = ops.expand_dims(ops.cast(masks, "int32"), 1) == object_index + 1
        else:
            chosen = ops.cast(ops.take_along_axis(masks, object_index, axis=1), "bool")
        place = part - 0.5
        rows = sample_weights(place[..., 1], place[..., 3], size, height, ops.arange(height))
        columns = sample_weights(place[..., 0], place[..., 2], size, width, ops.arange(width))
        values = ops.einsum("bnph,bnhw->bnpw", rows, ops.cast(chosen, keras.config.floatx()))
        parts.append(ops.einsum("bnqw,bnpw->bnpq", columns, values))
    return ops.cast(ops.concatenate(parts, axis=1) >= 0.5, keras.config.floatx())
