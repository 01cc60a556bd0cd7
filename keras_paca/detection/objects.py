"""Checks of the true objects with which a `MaskRCNN` is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_paca.arguments import as_numpy
from keras_paca.backbones.data import has_rank
from keras_paca.detection.box_formats import to_xyxy
from keras_paca.warn import warn_user

OBJECT_KEYS = ("boxes", "labels", "classes", "masks")
EXPECTED = (
    'Targets must be a dict of "boxes" (batch, n, 4), integer "labels" (batch, n), -1 where there '
    'is no object, and optionally "masks" (batch, n, height, width) or (batch, height, width).'
)

SEARCHED = 32  # number of images in which empty masks are searched, to stay fast on large arrays


def check_objects(
    objects: Any,
    image_size: tuple[int | None, int | None],
    bounding_box_format: str,
    num_classes: int,
    is_first: bool,
) -> None:
    """Check that true objects fit the images and the classes, and warn of likely mistakes.

    Args:
        objects: dict. The arrays or tensors "boxes" (batch, n, 4), "labels" or "classes" (batch, n)
            and optionally "masks", (batch, n, height, width) or (batch, height, width).
        image_size: tuple. (height, width) of the images in pixels, `None` where it is unknown.
        bounding_box_format: str. Format of the boxes, as in `keras.utils.bounding_boxes`.
        num_classes: int. Number of classes.
        is_first: bool. Whether the objects are the first batch of a data set. Labels without a
            class give a warning then, and no error.

    Raises:
        ValueError: If a name is wrong, or if boxes, labels or masks have wrong shapes or impossible
            values.

    Example:
    >>> objects = {"boxes": np.array([[[2, 3, 8, 9]]]), "labels": np.array([[0]])}
    >>> check_objects(objects, (10, 12), "xyxy", num_classes=2, is_first=False)
    """
    check_shapes(objects, image_size)
    labels = as_numpy(objects["labels" if "labels" in objects else "classes"])
    boxes = as_numpy(objects["boxes"])
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(f"{EXPECTED} Received: labels of {labels.dtype} that aren't integers")
    _check_labels(labels, num_classes, is_first)
    present = (labels >= 0) & (labels < num_classes)
    if present.any():
        found = boxes[present].astype("float64")
        present[present] = _check_boxes(found, bounding_box_format, image_size, is_first)
    if "masks" in objects:
        _check_masks(as_numpy(objects["masks"]), present)


def check_shapes(objects: Any, image_size: tuple[int | None, int | None]) -> None:
    """Check the names and shapes of true objects, as far as the shapes are known.

    Args:
        objects: dict. The arrays or tensors, as for `check_objects`.
        image_size: tuple. (height, width) of the images in pixels, `None` where it is unknown.

    Raises:
        ValueError: If a name or a shape is wrong.

    Example:
    >>> check_shapes({"boxes": np.zeros((8, 5, 4)), "labels": np.zeros((8, 5))}, (64, None))
    """
    if not isinstance(objects, Mapping):
        raise ValueError(f"{EXPECTED} Received: {type(objects).__name__}")
    for name, array in objects.items():
        if hasattr(array, "to_tensor") and hasattr(array, "row_splits"):  # TensorFlow's
            padding = "-1" if name in ("labels", "classes") else ""
            raise ValueError(
                f"{EXPECTED} Received: ragged {name}; `{name}.to_tensor({padding})` pads them"
            )
    shapes = {
        name: tuple(np.shape(array))
        for name, array in objects.items()
        if not hasattr(array, "shape") or has_rank(array)
    }
    # In a step that was traced for several ranks, the rank of TensorFlow's tensors is unknown.
    if len(shapes) < len(objects):
        return
    labels = [name for name in ("labels", "classes") if name in shapes]
    fits = "boxes" in shapes and len(labels) == 1 and set(shapes) <= set(OBJECT_KEYS)
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
    """Say whether two shapes are equal, as far as both are known."""
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


def _check_boxes(boxes: np.ndarray, format: str, image_size: tuple, is_first: bool) -> np.ndarray:
    """Check that the boxes (n, 4) of objects can have the format, and that some are in the image.

    The boxes of the first batch of a data set may all lie outside, because images may be cropped at
    random. That only gives a warning.

    Returns:
        Booleans (n,) that say which boxes have some area inside the image. The others are ignored.
    """
    received = f"Received: bounding_box_format={format!r} and boxes such as {boxes[0].tolist()}"
    if not np.isfinite(boxes).all():
        raise ValueError(f"The boxes of objects must be finite numbers. {received}")
    relative = format.startswith("rel_")
    if relative and np.abs(boxes).max() > 2:
        raise ValueError(f"Boxes relative to the image lie in 0..1. {received}")
    if not relative and 0 < np.abs(boxes).max() <= 1 and None not in image_size:
        raise ValueError(
            "All boxes lie in 0..1, as those relative to the image do. Boxes in pixels are larger. "
            f"{received}"
        )
    size = tuple(np.inf if side is None else side for side in image_size)
    if relative:  # The result doesn't depend on the size.
        size = (1, 1)
    edges = to_xyxy(boxes, format, size)
    has_area = (edges[:, 2:] > edges[:, :2]).all(axis=1)
    are_cropped = is_first and (edges[:, 2:] >= edges[:, :2]).all()
    if not has_area.any() and not are_cropped:
        raise ValueError(f"No box ends to the right of and below where it begins. {received}")
    edges = np.clip(edges, 0, [size[1], size[0]] * 2)
    inside = has_area & (edges[:, 2:] > edges[:, :2]).all(axis=1)
    sides = " x ".join("any" if side is None else str(side) for side in image_size)
    if has_area.all() and not inside.any() and not is_first:
        raise ValueError(
            f"All objects lie outside the images of {sides} (height x width). Boxes must be in "
            f"pixels of the images that the model gets, or relative to them. {received}"
        )
    if not inside.all():
        warn_user(
            f"{np.count_nonzero(~inside)} of {len(boxes)} objects have no area inside the images "
            f"of {sides} (height x width), and are ignored; first the box "
            f"{boxes[np.argmin(inside)].tolist()} ({format})."
        )
    return inside


def _check_masks(masks: np.ndarray, present: np.ndarray) -> None:
    """Check the values of masks, and warn of objects whose masks have no pixel.

    Args:
        masks: numpy.ndarray. Masks (batch, n, height, width), or instance maps (batch, height,
            width).
        present: numpy.ndarray. Booleans (batch, n), `False` for padding and ignored objects.
    """
    count, kind = present.shape[1], masks.dtype.kind
    if masks.ndim == 3:
        kinds, most = "iuf", count
        expected = (
            f"Instance maps (batch, height, width) must hold integers from 0 to {count}, the "
            "number of objects: i + 1 where object i is, and 0 elsewhere"
        )
    else:
        kinds, most = "biuf", np.inf
        expected = (
            "Masks (batch, n, height, width) must be booleans or 0 outside the object and a "
            "positive integer such as 1 inside; `masks > 0.5` converts probabilities"
        )
    if kind not in kinds:
        raise ValueError(f"{expected}. Received: masks of {masks.dtype}")
    for image in masks if masks.ndim == 3 or kind in "if" else ():
        good = kind != "f" or np.array_equal(image, np.floor(image))
        if not (good and image.min(initial=0) >= 0 and image.max(initial=0) <= most):
            found = np.unique(image)
            wrong = found[~((found >= 0) & (found <= most) & (found == np.floor(found)))]
            raise ValueError(f"{expected}. Received: masks with {wrong[:5].tolist()}")
    empty = []
    for number, (image, real) in enumerate(zip(masks[:SEARCHED], present[:SEARCHED], strict=True)):
        if masks.ndim == 3:
            pixels = np.bincount(image.ravel().astype("int64"), minlength=count + 1)[1:]
        else:
            pixels = image.any(axis=(1, 2))
        empty += [(number, int(i)) for i in np.flatnonzero(real & (pixels == 0))]
    if empty:
        warn_user(
            f"{len(empty)} of {np.count_nonzero(present[:SEARCHED])} objects in the first "
            f"images have no pixel in their masks; first object {empty[0][1]} of image "
            f"{empty[0][0]}, both counted from 0."
        )
