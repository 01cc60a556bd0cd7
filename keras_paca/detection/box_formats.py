"""Box formats: their names, and the conversion of boxes to "xyxy"."""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

BOX_FORMATS = (  # the formats of keras.utils.bounding_boxes.convert_format
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

    `keras.utils.bounding_boxes.convert_format` does the same, except that Keras 3.13 exchanges
    height and width if the source is "rel_center_xywh".

    Args:
        boxes: Array or tensor of shape (..., 4).
        source: str. Format of the boxes, one of `BOX_FORMATS`.
        image_size: tuple of int. (height, width) of the images in pixels.

    Returns:
        numpy.ndarray. float64, of shape (..., 4): left, top, right and bottom in pixels.

    Raises:
        ValueError: If `source` isn't one of the formats.

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
    """Check the name of a box format and return it in lower case.

    Args:
        name: str. The name, in upper or lower case.

    Returns:
        str. The name in lower case, one of `BOX_FORMATS`.

    Raises:
        ValueError: If it isn't the name of a box format.

    Example:
    >>> check_box_format("XYWH")
    'xywh'
    """
    if not isinstance(name, str) or name.lower() not in BOX_FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {', '.join(BOX_FORMATS)}. "
            f"Received: bounding_box_format={name!r}"
        )
    return name.lower()


def check_image_size(size: Any) -> tuple[int, int]:
    """Check the size of images and return it as two Python integers.

    Args:
        size: Sequence of int. (height, width) in pixels.

    Returns:
        tuple. (height, width).

    Raises:
        ValueError: If `size` isn't two positive integers.

    Example:
    >>> check_image_size(np.array([480, 640]))
    (480, 640)
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
    """Return the representation of a value in one short line, for messages.

    Args:
        value: Any. The object.

    Returns:
        str. The representation, shortened by `reprlib` and without line breaks.

    Example:
    >>> brief([0.5] * 100)
    '[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...]'
    """
    return " ".join(reprlib.repr(value).split())
