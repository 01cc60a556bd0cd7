"""The true objects of images as a `MaskRCNN` takes them, checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_paca.backbones.data import as_numpy
from keras_paca.warn import warn_user

NAMES = ("boxes", "labels", "classes", "masks")
EXPECTED = (
    'Targets must be a dict of "boxes" (batch, n, 4), integer "labels" (batch, n), -1 where there '
    'is no object, and perhaps "masks" (batch, n, height, width) or (batch, height, width).'
)


def check_objects(
    objects: Any,
    image_size: tuple[int | None, int | None],
    bounding_box_format: str,
    num_classes: int,
    is_first: bool,
) -> None:
    """Raise where true objects don't fit the images or the classes.

    Args:
        objects: dict. {"boxes", "labels" or "classes", perhaps "masks"}, arrays or tensors.
        image_size: (height, width) of the images, `None` where unknown.
        bounding_box_format: str. The format of the boxes.
        num_classes: int. Number of classes.
        is_first: bool. Whether these are the first batch of more. Labels without a class are
            ignored then, with a warning.

    Raises:
        ValueError: If a name or a shape is another one, or boxes or labels can't be true.
    """
    check_shapes(objects, image_size)
    labels = as_numpy(objects["labels" if "labels" in objects else "classes"])
    boxes = as_numpy(objects["boxes"])
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(f"{EXPECTED} Received: labels of {labels.dtype} that aren't integers")
    _check_labels(labels, num_classes, is_first)
    present = (labels >= 0) & (labels < num_classes)
    if present.any():
        _check_boxes(boxes[present].astype("float64"), bounding_box_format, image_size)


def check_shapes(objects: Any, image_size: tuple[int | None, int | None]) -> None:
    """Raise where objects have other names or shapes, which may be unknown in part.

    Args:
        objects: dict. {"boxes", "labels" or "classes", perhaps "masks"}, arrays or tensors.
        image_size: (height, width) of the images, `None` where unknown.

    Raises:
        ValueError: If they do.
    """
    if not isinstance(objects, Mapping):
        raise ValueError(f"{EXPECTED} Received: {type(objects).__name__}")
    shapes = {name: tuple(np.shape(array)) for name, array in objects.items()}
    labels = [name for name in ("labels", "classes") if name in shapes]
    fits = "boxes" in shapes and len(labels) == 1 and set(shapes) <= set(NAMES)
    fits = fits and len(shapes["boxes"]) == 3
    if fits:
        batch, count, _ = shapes["boxes"]
        fits = _agree(shapes["boxes"], (batch, count, 4))
        fits = fits and _agree(shapes[labels[0]], (batch, count))
        if "masks" in shapes:
            masks = [(batch, count, *image_size), (batch, *image_size)]
            fits = fits and any(_agree(shapes["masks"], shape) for shape in masks)
    if not fits:
        sides = " x ".join("any" if side is None else str(side) for side in image_size)
        raise ValueError(f"{EXPECTED} Received: {shapes} for images of {sides}")


def _agree(shape: tuple, wanted: tuple) -> bool:
    """Return whether two shapes are the same where both are known."""
    return len(shape) == len(wanted) and all(
        None in (a, b) or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _check_labels(labels: np.ndarray, num_classes: int, is_first: bool) -> None:
    found = np.unique(labels[labels >= 0]).astype(int).tolist()
    wrong = [label for label in found if label >= num_classes]
    from_one = wrong == [num_classes] and 0 not in found
    if wrong and (from_one or not is_first):
        hint = " They seem to count from 1: subtract 1." if from_one else ""
        raise ValueError(
            f"Labels must be integers from 0 to {num_classes - 1}, or -1 where there is no object. "
            f"Received: labels with {wrong[:5]}.{hint}"
        )
    if wrong:
        warn_user(f"Objects with the labels {wrong[:5]}, which are no classes, are ignored.")


def _check_boxes(boxes: np.ndarray, format: str, image_size: tuple) -> None:
    """Raise where the boxes (n, 4) of objects can't be of a format."""
    received = f"Received: bounding_box_format={format!r} and boxes such as {boxes[0].tolist()}"
    if not np.isfinite(boxes).all():
        raise ValueError(f"The boxes of objects must be finite numbers. {received}")
    relative = format.startswith("rel_")
    if relative and np.abs(boxes).max() > 2:
        raise ValueError(f"Boxes relative to the image lie in 0..1. {received}")
    if not relative and np.abs(boxes).max() <= 1 and None not in image_size:
        raise ValueError(
            f"Boxes in pixels are larger than that; those of 0..1 are relative. {received}"
        )
    if "xywh" not in format and "yxhw" not in format and not (boxes[:, 2:] > boxes[:, :2]).any():
        raise ValueError(f"No box ends to the right of and below where it begins. {received}")
