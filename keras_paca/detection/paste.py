"""Conversion of masks that fill their boxes to masks of the whole image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_paca.detection.box_formats import brief, check_box_format, check_image_size, to_xyxy


def paste_masks(
    predictions: Mapping[str, Any],
    image_size: Sequence[int],
    threshold: float = 0.5,
    bounding_box_format: str = "xyxy",
) -> list[np.ndarray]:
    """Convert predicted masks, which fill their boxes, to masks of the whole images.

    Args:
        predictions: dict. The output of `MaskRCNN.predict`, or of another detector: "boxes" (batch,
            n, 4), "masks" (batch, n, rows, columns) in [0, 1], and either "labels" (batch, n),
            which are -1 for padding, or "count" (batch,).
        image_size: tuple of int. (height, width) of the predicted images in pixels.
        threshold: float. A pixel belongs to the mask if its probability is at least this, in
            [0, 1].
        bounding_box_format: str. Format of the boxes, which is the `bounding_box_format` of the
            detector.

    Returns:
        list of numpy.ndarray. Booleans (count, height, width) for each image.

    Raises:
        ValueError: If the predictions have wrong shapes, if the boxes can't have this format, or if
            another argument is out of its range.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import paste_masks
    >>> predictions = {
    ...     "boxes": np.array([[[1, 0, 3, 2]]]),
    ...     "masks": np.ones((1, 1, 28, 28)),
    ...     "count": np.array([1]),
    ... }
    >>> paste_masks(predictions, (3, 4))[0].astype(int).tolist()
    [[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    size = check_image_size(image_size)
    check_fraction("threshold", threshold)
    found = read_predictions(predictions, ("boxes", "masks"), size, bounding_box_format)
    pasted = []
    for boxes, grids, count in zip(found["boxes"], found["masks"], found["count"], strict=True):
        images = np.zeros((count, *size), bool)
        for image, box, grid in zip(images, boxes, grids, strict=False):
            image[...] = paste_mask(box, grid, threshold, size)
        pasted.append(images)
    return pasted


def paste_mask(
    box: np.ndarray, grid: np.ndarray, threshold: float, image_size: Sequence[int]
) -> np.ndarray:
    """Convert the mask of one box to a mask of the image by bilinear interpolation.

    Args:
        box: numpy.ndarray. (4,): left, top, right and bottom in pixels.
        grid: numpy.ndarray. Probabilities (rows, columns) inside the box.
        threshold: float. A pixel belongs to the mask if its probability is at least this, in
            [0, 1].
        image_size: tuple of int. (height, width) of the image in pixels.

    Returns:
        numpy.ndarray. Booleans (height, width), `False` outside the box.

    Example:
    >>> paste_mask(np.array([1, 0, 3, 1]), np.ones((28, 28)), 0.5, (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    left, top, right, bottom = box
    rows = _weights(top, bottom, grid.shape[0], image_size[0])
    columns = _weights(left, right, grid.shape[1], image_size[1])
    # The probability outside the box is 0, and must stay below the threshold even if that is 0.
    return rows @ grid @ columns.T >= max(threshold, np.finfo("float32").tiny)


def _weights(low: float, high: float, cells: int, size: int) -> np.ndarray:
    """Return the weights (size, cells) of the cells in the rows of the image, 0 outside the box."""
    position = (np.arange(size) + 0.5 - low) / max(high - low, 1e-6) * cells - 0.5
    return np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0).astype("float32")


# --- Checks -----------------------------------------------------------------------------------


def read_predictions(
    predictions: Any, names: Sequence[str], image_size: Sequence[int], bounding_box_format: str
) -> dict[str, np.ndarray]:
    """Check a detector's predictions and convert them to NumPy arrays.

    Args:
        predictions: dict. Arrays or tensors, as for `paste_masks`.
        names: Sequence of str. Names that are required, in addition to "count" or "labels".
        image_size: tuple of int. (height, width) of the images in pixels.
        bounding_box_format: str. Format of the boxes.

    Returns:
        dict. NumPy arrays. The boxes are left, top, right and bottom in pixels. "count" (batch,) is
        the number of boxes up to the last one that isn't padding.

    Raises:
        ValueError: If an array is missing or has a wrong shape, or if the boxes can't have this
            format.

    Example:
    >>> predictions = {"boxes": np.array([[[1, 0, 2, 2]]]), "labels": np.array([[0]])}
    >>> found = read_predictions(predictions, ["boxes"], (3, 4), "xywh")
    >>> found["boxes"].tolist(), found["count"].tolist()
    ([[[1.0, 0.0, 3.0, 2.0]]], [1])
    """
    check_box_format(bounding_box_format)
    known = ("boxes", "masks", "scores", "labels", "count")
    if not isinstance(predictions, Mapping):
        raise ValueError(
            f"`predictions` must be a dict with {', '.join(names)}, as `MaskRCNN.predict` returns. "
            f"Received: {brief(predictions)} of type {type(predictions).__name__}"
        )
    found = {name: ops.convert_to_numpy(predictions[name]) for name in known if name in predictions}
    if not set(names) <= set(found) or not {"count", "labels"} & set(found):
        raise ValueError(
            f"`predictions` must hold {', '.join(names)} and `labels` or `count`. "
            f"Received: {', '.join(map(str, predictions)) or 'nothing'}"
        )
    _check_prediction_shapes(found)
    numbers = np.arange(1, found["boxes"].shape[1] + 1)
    real = found["labels"] >= 0 if "labels" in found else numbers <= found["count"][:, None]
    found.setdefault("count", (real * numbers).max(axis=1, initial=0))
    boxes = to_xyxy(found["boxes"], bounding_box_format, image_size)
    _check_found_boxes(found["boxes"][real], boxes[real], bounding_box_format)
    return {**found, "boxes": boxes}


def _check_prediction_shapes(found: Mapping[str, np.ndarray]) -> None:
    """Check that the shapes of predictions fit one another."""
    batch = found["boxes"].shape[:2]
    expected = {"boxes": (*batch, 4), "scores": batch, "labels": batch, "count": batch[:1]}
    fits = found["boxes"].ndim == 3
    for name, array in found.items():
        if name == "masks":
            fits = fits and array.ndim == 4 and array.shape[:2] == batch
        else:
            fits = fits and array.shape == expected[name]
    if fits and "count" in found:
        fits = bool(((found["count"] >= 0) & (found["count"] <= batch[1])).all())
    if not fits:
        raise ValueError(
            "`predictions` must hold boxes (batch, n, 4), masks (batch, n, rows, columns), scores "
            "and labels (batch, n) and count (batch,), from 0 to n. Received shapes: "
            f"{ {name: array.shape for name, array in found.items()} }"
        )


def _check_found_boxes(given: np.ndarray, boxes: np.ndarray, source: str) -> None:
    """Check that boxes (n, 4) can have their format. `boxes` are the same boxes as "xyxy"."""
    if not np.isfinite(boxes).all():
        raise ValueError("The boxes of the predictions must be finite. Received: NaN or infinity")
    sides = boxes[:, 2:] - boxes[:, :2]
    solid = given[(sides > 0).all(axis=1)]
    largest = np.abs(solid).max(axis=1) if len(solid) else np.empty(0)
    reason = None
    if (sides < -0.01).any():
        reason = "some end to the left of where they begin, or above it"
    elif len(solid) and source.lower().startswith("rel_") and (largest > 2).all():
        reason = "they are larger than the image"
    elif len(solid) and not source.lower().startswith("rel_") and (largest <= 1).all():
        reason = "all lie within one pixel, as boxes relative to the image do"
    if reason is not None:
        raise ValueError(
            f"The boxes of the predictions don't look like {source!r}: {reason}. Set "
            "`bounding_box_format` to the detector's own format. Received: "
            f"bounding_box_format={source!r}"
        )


def check_fraction(name: str, value: Any) -> None:
    """Check that an argument is a number in [0, 1].

    Args:
        name: str. Name of the argument, for the error.
        value: Any. The value.

    Raises:
        ValueError: If it isn't such a number.

    Example:
    >>> check_fraction("threshold", 0.5)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"`{name}` must be a number from 0 to 1. Received: {name}={brief(value)}")
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number from 0 to 1. Received: {name}={value}")
