"""Images that users give to calibrate or to check a file, as arrays that fit its input."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.describe import NORMALISED, RGB, input_kind
from keras_paca.deploy.float32 import in_float32
from keras_paca.warn import warn_user

LARGEST_SCALED = 3.0  # the largest absolute value of images in 0..1, in -1..1 or of deviation 1


def given_images(name: str, images: Any, model: keras.Model, shape: tuple) -> np.ndarray:
    """Return images as an array for a file's input.

    Args:
        name: str. The name of the argument, for messages.
        images: Any. What the user gave: an array or tensor (n, height, width, channels), a list
            of n images, or such an array in a list or in a dict, as for `Model.predict`.
        model: keras.Model. The model that takes the images.
        shape: tuple. (batch, height, width, channels) of the file's input, with `None` for any.

    Returns:
        numpy.ndarray. The images (n, height, width, channels), in the dtype of the file's input.

    Raises:
        ValueError: If there are no images, or they don't fit the shape, are constant, aren't
            finite, or are scaled to 0..1 for a model that takes RGB in 0..255.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3))
    >>> array = given_images("check_data", images, model, (None, 32, 32, 3))
    >>> array.shape, array.dtype.name
    ((4, 32, 32, 3), 'float32')
    """
    array = _as_array(name, _unwrap(images))
    fits = array.ndim == 4 and all(
        own in (None, side) for own, side in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits or not len(array):
        one = array.ndim == 3 and "; one image needs a batch axis: image[None]"
        raise ValueError(
            f"`{name}` must be images (n, height, width, channels) of the file's input {shape}. "
            f"Received: an array of shape {array.shape}{one or ''}"
        )
    _check_values(name, array)
    _check_range(name, array, input_kind(model))
    return _cast(name, array, in_float32(model.inputs[0].dtype, of_dtype=True))


def received(images: Any) -> str:
    """Return a short description of what a user gave as images, for messages.

    Args:
        images: Any. What the user gave.

    Returns:
        str. The kind of object, and its shape if it has one.

    Example:
    >>> received(np.zeros((4, 32, 32, 3)))
    'an array of float64 of shape (4, 32, 32, 3)'
    """
    if images is None or isinstance(images, (str, Path, int, float)):
        return f"{images!r:.100}"
    if isinstance(images, Mapping):
        return f"a dict with the keys {list(images)!r:.100}"
    if isinstance(images, (list, tuple)):
        kinds = sorted({type(each).__name__ for each in images})
        return f"a {type(images).__name__} of {len(images)} entries ({', '.join(kinds)})"
    if hasattr(images, "dtype"):
        return f"an array of {images.dtype} of shape {tuple(images.shape)}"
    kind = type(images).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _unwrap(images: Any) -> Any:
    """Return the array in a dict or a list with one entry, which `Model.predict` takes too."""
    entries = keras.tree.flatten(images)
    is_batch = len(entries) == 1 and getattr(entries[0], "ndim", 0) == 4
    return entries[0] if is_batch else images


def _as_array(name: str, images: Any) -> np.ndarray:
    """Return an array of numbers made of an array, a tensor or a list of images."""
    error = None
    if hasattr(images, "__array__") or isinstance(images, (list, tuple)):
        try:
            is_tensor = keras.ops.is_tensor(images)
            array = keras.ops.convert_to_numpy(images) if is_tensor else np.asarray(images)
            if array.dtype.kind in "uif" or array.dtype.name == "bfloat16":
                return array
        except (RuntimeError, TypeError, ValueError) as reason:
            error = reason
    raise ValueError(
        f"`{name}` must be an array of images (n, height, width, channels){_advice(images)}. "
        f"Received: {received(images)}"
    ) from error


def _advice(images: Any) -> str:
    """Return how to make an array of what the user gave instead of one, for messages."""
    if isinstance(images, (str, Path)):
        return "; load the files first, such as with `load_image`"
    is_iterable = hasattr(images, "__iter__") or hasattr(images, "__getitem__")
    if is_iterable and not isinstance(images, (Mapping, list, tuple, np.ndarray)):
        return "; collect those of a data set with np.concatenate([x for x, y in dataset])"
    return ""


def _check_values(name: str, images: np.ndarray) -> None:
    """Raise an error if images aren't finite or are constant."""
    if not np.isfinite(images.astype("float32")).all():
        raise ValueError(f"`{name}` must hold finite numbers. Received: NaN or infinity in it")
    if np.all(images == images[:, :1, :1]):
        raise ValueError(
            f"`{name}` must not be constant images: they show nothing. "
            f"Received: images of the value {float(images.flat[0]):g}"
        )


def _check_range(name: str, images: np.ndarray, kind: str | None) -> None:
    """Raise an error if images are scaled already, and warn if they should be but aren't."""
    low, high = float(images.min()), float(images.max())
    received = f"Received: values from {low:.3g} to {high:.3g}"
    if kind == RGB and max(-low, high) <= LARGEST_SCALED:
        raise ValueError(
            f"`{name}` must hold RGB in 0..255, which the model normalises itself. {received}"
        )
    whole = images.dtype.kind in "ui" or np.all(images == np.floor(images))
    if kind == NORMALISED and low >= 0 and LARGEST_SCALED < high <= 255 and whole:
        warn_user(
            f"`{name}` looks like RGB in 0..255; the model takes normalised images. {received}"
        )


def _cast(name: str, images: np.ndarray, dtype: str) -> np.ndarray:
    """Return images in the dtype of the file's input; raise an error if it can't hold them."""
    cast = images.astype(dtype)
    if cast.dtype.kind in "ui" and not np.array_equal(cast, images):
        raise ValueError(
            f"`{name}` must hold numbers of the model's input dtype, {dtype}. Received: an array "
            f"of {images.dtype} with values from {images.min():.3g} to {images.max():.3g}"
        )
    return cast
