"""Checks of segmentations in COCO's format, which are polygons or run lengths."""

from collections.abc import Sequence
from typing import Any

from keras_paca.detection.json_values import is_number, is_whole, show

FAR = 10  # Farthest point, in sides of the image. pycocotools needs memory for each pixel up to it.


def segmentation_fault(value: Any, image_size: Sequence[Any] | None) -> str | None:
    """Say what is wrong with a segmentation.

    Wrong segmentations must not reach pycocotools. It draws polygons of one or two points, takes
    four numbers for a box, crashes on points far outside the image, and reads beyond the end of
    broken run lengths.

    Args:
        value: Any. The segmentation as it was read from JSON. `None` and `[]` mean that there is
            none.
        image_size: tuple. (height, width) of the image in pixels, or `None` if it isn't known.

    Returns:
        str. The rest of a sentence that begins with "`segmentation`"; or `None` if the segmentation
        is right.

    Example:
    >>> segmentation_fault([[5, 5, 35, 5]], (64, 96))
    'has a polygon of 2 points, and a polygon needs at least 3'
    """
    if value is None or value == []:
        return None
    if image_size is not None and not all(is_whole(side) and side > 0 for side in image_size):
        image_size = None
    if isinstance(value, dict):
        return _run_lengths_fault(value, image_size)
    if not isinstance(value, list):
        return f"must be a list of polygons or run lengths, and is {show(value)}"
    if all(map(is_number, value)):
        return f"must be a list of polygons, [[x1, y1, x2, y2, ...], ...], and is {show(value)}"
    faults = (_polygon_fault(polygon, image_size) for polygon in value)
    return next((fault for fault in faults if fault is not None), None)


def _polygon_fault(polygon: Any, image_size: Sequence[int] | None) -> str | None:
    if not isinstance(polygon, list):
        return f"must be a list of polygons, and has {show(polygon)} in it"
    if not polygon:
        return "has an empty polygon"
    if any(isinstance(number, list) for number in polygon):
        return f"must have polygons [x1, y1, x2, y2, ...], and has {show(polygon)}"
    if not all(map(is_number, polygon)):
        wrong = next(number for number in polygon if not is_number(number))
        return f"has a polygon with {show(wrong)} instead of a number"
    if len(polygon) % 2:
        return f"has a polygon of {len(polygon)} numbers, an x without a y"
    if len(polygon) < 6:
        points = len(polygon) // 2
        return (
            f"has a polygon of {points} point{'s' * (points > 1)}, and a polygon needs at least 3"
        )
    if image_size is not None and max(map(abs, polygon)) > FAR * max(image_size):
        return f"has a point far outside the image: {show(max(polygon, key=abs))}"
    return None


def _run_lengths_fault(value: dict, image_size: Sequence[int] | None) -> str | None:
    if "counts" not in value or "size" not in value:
        missing = "counts" if "counts" not in value else "size"
        return f"has run lengths without `{missing}`"
    size, counts = value["size"], value["counts"]
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_whole, size)):
        return f"has a `size` that must be [height, width], and is {show(size)}"
    if image_size is not None and size != list(image_size):
        turned = ", which is [width, height]" if size == [*image_size][::-1] else ""
        return f"has the `size` {show(size)}{turned}, and the image has {show([*image_size])}"
    if isinstance(counts, str):
        counts = decode_counts(counts)
        if counts is None:
            return f"has broken compressed `counts`: {show(value['counts'])}"
    if not isinstance(counts, list):
        return f"has `counts` that must be a list or a text, and are {show(counts)}"
    if not all(is_whole(count) and count >= 0 for count in counts):
        return "has `counts` that aren't all integers of 0 or more"
    if sum(counts) != size[0] * size[1]:
        return f"has `counts` with the sum {sum(counts)}, not {size[0]} x {size[1]} pixels"
    return None


def decode_counts(text: str) -> list[int] | None:
    """Decode COCO's compressed run lengths.

    Each character holds five bits of a number and one bit that says whether the number continues.
    From the fourth number on, the text holds the difference from the last number but one.

    Args:
        text: str. The compressed run lengths.

    Returns:
        list of int. The run lengths; or `None` if the text can't be decoded.

    Example:
    >>> decode_counts("52203")
    [5, 2, 2, 2, 5]

    Source: `rleFrString` of pycocotools.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    return None if shift else counts


def whole_segmentation(value: Any) -> Any:
    """Convert the whole numbers of a checked segmentation to int.

    Args:
        value: Any. The segmentation as it was read from JSON.

    Returns:
        The segmentation, or `None` if there is none.

    Example:
    >>> whole_segmentation({"size": [2.0, 3], "counts": [6.0]})
    {'size': [2, 3], 'counts': [6]}
    """
    if isinstance(value, dict):
        counts = value["counts"]
        counts = counts if isinstance(counts, str) else [int(count) for count in counts]
        return {**value, "size": [int(side) for side in value["size"]], "counts": counts}
    return value or None
