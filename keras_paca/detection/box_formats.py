"""Formats of boxes: their names, and their conversion to "xyxy"."""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

BOX_FORMATS = (  # those of keras.utils.bounding_boxes.convert_format
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def to_xyxy(boxes: Any, source: str, image_size: Sequence[int]) -> np.ndarray:
    """Convert boxes of any format to "xyxy" in pixels.

    `keras.utils.bounding_boxes.convert_format` does the same, but Keras 3.13 exchanges height and
    width where the source is "rel_center_xywh".

    Args:
        boxes: Array or tensor of shape (..., 4).
        source: str. Format of the boxes, one of `BOX_FORMATS`.
        image_size: (height, width) of the images.

    Returns:
        float64 NumPy array of shape (..., 4): left, top, right, bottom.

    Raises:
        ValueError: If there is no such format.

    Example:
    >>> to_xyxy([[0.5, 0.5, 0.5, 1.0]], "rel_center_xywh", (20, 40)).tolist()
    [[10.0, 0.0, 30.0, 20.0]]
    """
    source = check_box_format(source)
    boxes = np.asarray(ops.convert_to_numpy(boxes), "float64")
    height, width = image_size
    if source.endswith(("yxyx", "yxhw")):
        boxes = boxes[..., [1, 0, 3, 2]]
    if source.startswith("rel_"):
        boxes = boxes * [width, height, width, height]
    first, second = boxes[..., :2], boxes[..., 2:]
    if "center" in source:
        first, second = first - second / 2, first + second / 2
    elif source.endswith("wh"):
        second = first + second
    return np.concatenate([first, second], axis=-1)


def check_box_format(name: Any) -> str:
    """Return the name of a format of boxes in lower case.

    Raises:
        ValueError: If there is no such format.
    """
    if not isinstance(name, str) or name.lower() not in BOX_FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {', '.join(BOX_FORMATS)}. "
            f"Received: bounding_box_format={name!r}"
        )
    return name.lower()


def check_image_size(size: Any) -> tuple[int, int]:
    """Return the (height, width) of images as two integers.

    Raises:
        ValueError: If these aren't two positive integers.
    """
    try:
        sides = [operator.index(side) for side in size]
    except TypeError:
        sides = []
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(
            "`image_size` must be the height and the width of the images, two integers of 1 or "
            f"more. Received: image_size={brief(size)}"
        )
    return sides[0], sides[1]


def brief(value: Any) -> str:
    """Return the representation of a value in one short line, for messages."""
    return " ".join(reprlib.repr(value).split())
