"""Resizing whole images for segmenters and detectors, without a crop."""

from collections.abc import Sequence

import numpy as np

from keras_paca.preprocessing.colours import array_to_rgb
from keras_paca.warn import warn_user


def read_array(image: np.ndarray) -> np.ndarray:
    """Convert an array to RGB with 8 bits per channel, as `evaluation_transform` does.

    Args:
        image: np.ndarray. uint8 in 0..255 or uint16 in 0..65535, (height, width, 3) in RGB or
            (height, width) in grey.

    Returns:
        np.ndarray. uint8 (height, width, 3).

    Raises:
        ValueError: If `image` isn't a NumPy array, or has another dtype or shape.

    Example:
    >>> read_array(np.zeros((30, 40), "uint8")).shape
    (30, 40, 3)
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"`image` must be a uint8 or uint16 NumPy array. Received: {type(image).__name__}"
        )
    rgb, note = array_to_rgb(image)
    if note is not None:
        warn_user(note)
    return np.asarray(rgb)


def resized_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return the largest size of an image that keeps its sides within two limits.

    Args:
        height: int. Height of the image.
        width: int. Width of the image.
        short_side: int. Limit of the shorter side.
        long_side: int. Limit of the longer side.

    Returns:
        tuple of int. (height, width), rounded.

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
        image: np.ndarray. (height, width, channels), in 0..255.
        size: Sequence of int. (height, width) of the result.

    Returns:
        np.ndarray. float32 (height, width, channels), whole numbers in 0..255.

    Example:
    >>> resize_bilinear(np.zeros((30, 40, 3), "uint8"), (60, 80)).shape
    (60, 80, 3)
    """
    image = image.astype("float32")
    for axis, side in enumerate(size):
        image = interpolate(image, np.arange(side), side, axis)
    return np.rint(image)


def interpolate(values: np.ndarray, place: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resize one axis with linear interpolation, and return some pixels of the result.

    Args:
        values: np.ndarray. The values, with three axes.
        place: np.ndarray. The indices of the pixels to return, on the resized axis.
        size: int. The length of the resized axis.
        axis: int. The axis to resize.

    Returns:
        np.ndarray. The values with the length of `place` on that axis.

    Example:
    >>> interpolate(np.array([[[0.0], [4.0]]]), np.arange(4), size=4, axis=1).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    last = values.shape[axis] - 1
    at = np.clip((place + 0.5) * values.shape[axis] / size - 0.5, 0, last)
    low = np.floor(at).astype("int64")
    shape = [1, 1, 1]
    shape[axis] = len(place)
    rest = (at - low).astype("float32").reshape(shape)
    before, after = values.take(low, axis), values.take(np.minimum(low + 1, last), axis)
    return before + rest * (after - before)
