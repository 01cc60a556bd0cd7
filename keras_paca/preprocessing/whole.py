"""Whole images at the size that segmenters and detectors take, without a crop."""

import warnings
from collections.abc import Sequence

import numpy as np

from keras_paca.preprocessing.colours import array_to_rgb


def read_array(image: np.ndarray) -> np.ndarray:
    """Return an array as RGB of 8 bits, as `evaluation_transform` reads it.

    Args:
        image: uint8 or uint16 array (height, width, 3) in RGB or (height, width) in grey.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: If it isn't an array, or has another dtype or shape.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"`image` must be a uint8 or uint16 NumPy array. Received: {type(image).__name__}"
        )
    rgb, note = array_to_rgb(image)
    if note is not None:
        warnings.warn(note, stacklevel=3)
    return np.asarray(rgb)


def resized_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) of the largest image whose sides are at most the two, rounded.

    Args:
        height: int. Height of the image.
        width: int. Width of the image.
        short_side: int. Limit of the shorter side.
        long_side: int. Limit of the longer side.

    Example:
    >>> resized_size(480, 640, short_side=800, long_side=1333)
    (800, 1067)

    Source: MMDetection's `Resize` with `keep_ratio=True`.
    """
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize_bilinear(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize an image bilinearly, without antialiasing, as OpenCV does.

    Args:
        image: (height, width, channels), 0..255.
        size: (height, width) of the result.

    Returns:
        float32 (height, width, channels), whole numbers in 0..255.
    """
    image = image.astype("float32")
    for axis, side in enumerate(size):
        image = interpolate(image, np.arange(side), side, axis)
    return np.rint(image)


def interpolate(values: np.ndarray, place: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Return the values of an axis at some of the pixels of its new size, bilinearly.

    Args:
        values: Array of three axes.
        place: Array of integers. The pixels of the new axis to return.
        size: int. The length of the new axis.
        axis: int. Which axis.
    """
    last = values.shape[axis] - 1
    at = np.clip((place + 0.5) * values.shape[axis] / size - 0.5, 0, last)
    low = np.floor(at).astype("int64")
    shape = [1, 1, 1]
    shape[axis] = len(place)
    rest = (at - low).astype("float32").reshape(shape)
    before, after = values.take(low, axis), values.take(np.minimum(low + 1, last), axis)
    return before + rest * (after - before)
