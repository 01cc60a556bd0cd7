"""Conversion and checks of the data for COCO's metrics: images, true objects, detections."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.detection.box_formats import brief

PAIR = "(images, {'boxes': ..., 'labels': ..., 'masks': ...})"
TARGETS = ("boxes", "labels", "classes", "masks")  # Targets with other names are ignored.


# --- Batches ----------------------------------------------------------------------------------


def check_data(data: Any, batch_size: int) -> None:
    """Check before any prediction that data are a pair of arrays or a finite iterable of batches.

    Args:
        data: Any. Images and targets, as for `coco_metrics`.
        batch_size: int. Number of images in a batch, if `data` is a pair of arrays.

    Raises:
        ValueError: If the data are something else, or `batch_size` isn't a positive integer.

    Example:
    >>> targets = {"boxes": np.zeros((2, 3, 4)), "labels": np.zeros((2, 3), int)}
    >>> check_data((np.zeros((2, 64, 64, 3)), targets), batch_size=8)
    """
    check_count("batch_size", batch_size)
    if _is_pair(data):
        counts = {"images": _length(_single(data[0]))}
        counts |= {name: _length(data[1][name]) for name in TARGETS if name in data[1]}
        if len(set(counts.values()) - {None}) > 1:
            raise ValueError(f"Expected as many targets as images. Received: {counts}")
        return
    endless = False
    if isinstance(data, keras.utils.PyDataset):
        endless = data.num_batches is None
    elif hasattr(data, "cardinality"):  # tf.data
        endless = int(data.cardinality()) == -1
    elif not isinstance(data, Iterable) or isinstance(data, np.ndarray | Mapping | str):
        keys = f" of {', '.join(map(str, data))}" if isinstance(data, Mapping) else ""
        raise ValueError(
            f"`data` must be a pair {PAIR} of arrays or an iterable of such batches. Received: "
            f"{type(data).__name__}{keys}"
        )
    if endless:
        raise ValueError(f"Expected data that end. Received: an endless {type(data).__name__}")


def batches(data: Any, batch_size: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Iterate over the batches of data.

    Args:
        data: Any. Images and targets, as for `coco_metrics`.
        batch_size: int. Number of images in a batch, if `data` is a pair of arrays.

    Yields:
        tuple. The images (batch, height, width, channels), a NumPy array, and the dict of targets.

    Raises:
        ValueError: If a batch isn't a pair of images and targets.

    Example:
    >>> targets = {"boxes": np.zeros((2, 3, 4)), "labels": np.zeros((2, 3), int)}
    >>> [images.shape for images, _ in batches((np.zeros((2, 64, 64, 3)), targets), batch_size=1)]
    [(1, 64, 64, 3), (1, 64, 64, 3)]
    """
    if _is_pair(data):
        images = _images(data[0])
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            yield (
                images[part],
                {
                    name: values[part]
                    for name, values in data[1].items()
                    if name in TARGETS and _length(values) is not None
                },
            )
        return
    if isinstance(data, keras.utils.PyDataset):  # Iterating over it directly wouldn't end.
        data = map(data.__getitem__, range(data.num_batches))
    for batch in data:
        if isinstance(batch, tuple | list) and len(batch) == 3 and batch[2] is None:
            batch = batch[:2]
        if not _is_pair(batch):
            raise ValueError(f"Each batch must be a pair {PAIR}. Received: {_form(batch)}")
        yield _images(batch[0]), batch[1]


def _is_pair(data: Any) -> bool:
    """Say whether data are a pair (images, targets)."""
    return isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[1], Mapping)


def _form(batch: Any) -> str:
    """Describe a batch, for messages."""
    if isinstance(batch, Mapping):
        return f"a dict of {', '.join(map(str, batch))}"
    if isinstance(batch, tuple | list):
        kinds = ", ".join(type(part).__name__ for part in batch)
        weighted = len(batch) == 3 and isinstance(batch[1], Mapping)
        return f"a {type(batch).__name__} of {kinds}{'; there are no weights here' * weighted}"
    return type(batch).__name__


def _single(images: Any) -> Any:
    """Return the images in a dict or a list with one entry, which models with one input accept."""
    if isinstance(images, Mapping):
        if len(images) != 1:
            raise ValueError(
                "Expected images as an array, or as a dict or a list with one. Received: a dict of "
                f"{', '.join(map(str, images)) or 'nothing'}"
            )
        return next(iter(images.values()))
    if isinstance(images, list | tuple) and len(images) == 1 and _shape(images[0])[3:]:
        return images[0]
    return images


def _images(images: Any) -> np.ndarray:
    """Return images as one array."""
    array = _to_numpy("images", _single(images))
    if array.ndim != 4:
        raise ValueError(
            "Expected images of shape (batch, height, width, channels). Received: images of shape "
            f"{array.shape}"
        )
    return array


def check_lengths(images: np.ndarray, truth: Mapping[str, np.ndarray]) -> None:
    """Check that there are as many targets as images.

    Args:
        images: numpy.ndarray. Images (batch, height, width, channels).
        truth: dict. The true objects, from `read_truth`.

    Raises:
        ValueError: If the numbers differ.

    Example:
    >>> check_lengths(np.zeros((2, 64, 64, 3)), {"boxes": np.zeros((2, 5, 4))})
    """
    if len(images) != len(truth["boxes"]):
        raise ValueError(
            f"Expected as many targets as images. Received: {len(images)} images and targets of "
            f"{len(truth['boxes'])}"
        )


def check_count(name: str, value: Any) -> None:
    """Check that an argument is an integer of 1 or more.

    Args:
        name: str. Name of the argument, for the error.
        value: Any. The value.

    Raises:
        ValueError: If it isn't such an integer.

    Example:
    >>> check_count("batch_size", 8)
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer of 1 or more. Received: {name}={brief(value)}"
        )


# --- Objects and detections -------------------------------------------------------------------


def read_truth(
    what: str, truth: Any, image_size: Sequence[int], num_classes: int | None = None
) -> dict[str, np.ndarray]:
    """Check the true objects of a batch and convert them to NumPy arrays.

    Args:
        what: str. How errors name the objects, such as "`truth`".
        truth: dict. "boxes" (batch, n, 4), "labels" or "classes" (batch, n), and optionally
            "masks", (batch, n, height, width) or (batch, height, width).
        image_size: tuple of int. (height, width) of the images in pixels.
        num_classes: int. Labels must be less than this. `None` allows all labels.

    Returns:
        dict. The NumPy arrays "boxes", "labels" and, if they were given, "masks".

    Raises:
        ValueError: If an array is missing, or has a wrong shape or wrong values.

    Example:
    >>> truth = read_truth("`truth`", {"boxes": [[[2, 3, 8, 9]]], "classes": [[0]]}, (10, 12))
    >>> truth["boxes"].shape, truth["labels"].shape
    ((1, 1, 4), (1, 1))
    """
    height, width = image_size
    expected = (
        "boxes (batch, n, 4), labels (batch, n) and, if any, masks (batch, n, "
        f"{height}, {width}) or (batch, {height}, {width})"
    )
    arrays, error = _read(what, truth, TARGETS, ("boxes", "labels"), expected)
    batch = arrays["boxes"].shape[:2]
    if "masks" in arrays and arrays["masks"].shape not in (
        (*batch, height, width),
        (batch[0], height, width),
    ):
        raise error()
    labels = arrays["labels"] = _integers(f"labels of {what}", arrays["labels"])
    if num_classes is not None and labels.max(initial=-1) >= num_classes:
        raise ValueError(
            f"The labels of {what} must count from 0 and be less than the model's `num_classes`, "
            f"{num_classes}. Received: {labels.max()}"
        )
    if not np.isfinite(arrays["boxes"].astype("float64")[labels >= 0]).all():
        raise ValueError(f"The boxes of {what} must be finite. Received: NaN or infinity")
    if "masks" in arrays and arrays["masks"].ndim == 3:
        arrays["masks"] = _integers(f"instance maps of {what}", arrays["masks"])
        largest = arrays["masks"].max(initial=0)
        if largest > batch[1]:
            raise ValueError(
                f"The instance maps of {what} must hold i + 1 where object i is, at most "
                f"{batch[1]} here, and 0 elsewhere. Received: {largest}"
            )
    return arrays


def read_detections(what: str, detections: Any) -> dict[str, np.ndarray]:
    """Check the detections in a batch and convert them to NumPy arrays.

    Args:
        what: str. How errors name the detections, such as "`detections`".
        detections: dict. "boxes" (batch, n, 4), "scores" and "labels" (batch, n), and optionally
            "masks" (batch, n, rows, columns).

    Returns:
        dict. The NumPy arrays "boxes", "scores", "labels" and, if they were given, "masks".

    Raises:
        ValueError: If an array is missing, or has a wrong shape or wrong values.

    Example:
    >>> detections = {"boxes": [[[2, 3, 8, 9]]], "scores": [[0.9]], "labels": [[0]]}
    >>> read_detections("`detections`", detections)["scores"].shape
    (1, 1)
    """
    expected = (
        "boxes (batch, n, 4), scores and labels (batch, n) and, if any, masks (batch, n, rows, "
        "columns)"
    )
    names = ("boxes", "scores", "labels")
    arrays, error = _read(what, detections, (*names, "masks"), names, expected)
    if "masks" in arrays:
        shape = arrays["masks"].shape
        if len(shape) != 4 or shape[:2] != arrays["boxes"].shape[:2]:
            raise error()
    labels = arrays["labels"] = _integers(f"labels of {what}", arrays["labels"])
    for name in ("boxes", "scores"):
        if not np.isfinite(arrays[name].astype("float64")[labels >= 0]).all():
            raise ValueError(f"The {name} of {what} must be finite. Received: NaN or infinity")
    return arrays


def _read(
    what: str, given: Any, names: Sequence[str], required: Sequence[str], expected: str
) -> tuple[dict[str, np.ndarray], Callable[[], ValueError]]:
    """Convert the arrays with the given names, and check the shapes of the required ones.

    The first required array holds the boxes. The second returned value creates the error for wrong
    shapes.
    """
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{_sentence(what)} must be a dict of {expected}. Received: {_form(given)}"
        )

    def error() -> ValueError:
        received = ", ".join(f"{name} {_shape(array)}" for name, array in given.items())
        return ValueError(
            f"{_sentence(what)} must hold {expected}. Received: {received or 'nothing'}"
        )

    arrays = {name: _to_numpy(name, given[name]) for name in names if name in given}
    if "labels" not in arrays and "classes" in arrays:
        arrays["labels"] = arrays.pop("classes")
    if not set(required) <= set(arrays):
        raise error()
    shape = arrays["boxes"].shape
    if len(shape) != 3 or shape[2] != 4:
        raise error()
    if any(arrays[name].shape != shape[:2] for name in required[1:]):
        raise error()
    return arrays, error


def _sentence(words: str) -> str:
    """Return words with a capital first letter, for the beginning of a sentence."""
    return words[0].upper() + words[1:]


def _shape(values: Any) -> tuple:
    """Return the shape of an array or a tensor, for messages."""
    return tuple(getattr(values, "shape", ()))


def _length(values: Any) -> int | None:
    """Return the length of an array, a tensor or a list, or `None` if the value has no length."""
    if isinstance(values, list | tuple):
        return len(values)
    return next(iter(_shape(values)), None)


def _to_numpy(name: str, values: Any) -> np.ndarray:
    """Convert an array or a tensor of any backend to a NumPy array."""
    try:
        if isinstance(values, list | tuple):
            return np.stack([ops.convert_to_numpy(value) for value in values])
        array = ops.convert_to_numpy(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array, or lists of equal lengths. Received: {brief(values)} of "
            f"type {type(values).__name__} ({error})"
        ) from error
    return array


def _integers(what: str, values: np.ndarray) -> np.ndarray:
    """Convert an array of whole numbers to integers."""
    kind = values.dtype.kind
    if kind not in "iu":
        numbers = values.astype("float64") if kind not in "OUSb" else np.full(1, np.nan)
        if not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
            raise ValueError(
                f"The {what} must be integers. Received: {values.dtype} with {brief(values)}"
            )
        return numbers.astype("int64")
    return values
