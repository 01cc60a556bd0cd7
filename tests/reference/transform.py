"""The evaluation transform computed in float64 with NumPy alone, from the definition."""

import math
from fractions import Fraction

import numpy as np

# Pillow's `Resample.c` stores the filter's weights as integers with so many binary places.
PILLOW_WEIGHT_BITS = 22


def evaluation_transform_float64(
    image_array: np.ndarray,
    image_size: int | tuple[int, int] = 224,
    crop: float = 0.9,
    weight_bits: int | None = None,
) -> np.ndarray:
    """Return the transformed image, uint8 (height, width, 3).

    `image_array` is uint8 (height, width, 3) or (height, width). `weight_bits` rounds the weights
    to so many binary places, as Pillow does; `None` leaves them in float64.
    """
    if image_array.ndim == 2:
        image_array = np.stack([image_array] * 3, axis=-1)
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    resized = _resized_sides(image_array.shape[:2], sides, crop)
    grey = image_array.astype("float64")
    grey = _apply(_bicubic_weights(grey.shape[1], resized[1], weight_bits), grey, axis=1)
    grey = _apply(_bicubic_weights(grey.shape[0], resized[0], weight_bits), grey, axis=0)
    top, left = (round(Fraction(r - s, 2)) for r, s in zip(resized, sides, strict=True))
    return grey[top : top + sides[0], left : left + sides[1]].astype("uint8")


def _resized_sides(old: tuple, sides: tuple, crop: float) -> tuple:
    targets = [math.floor(side / crop) for side in sides]
    if targets[0] == targets[1]:
        return tuple(math.floor(Fraction(targets[0] * side, min(old))) for side in old)
    ratio = min(side / target for side, target in zip(old, targets, strict=True))
    return tuple(round(side / ratio) for side in old)


def _cubic(x: float) -> float:
    """Return Keys' cubic convolution kernel with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x < 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def _bicubic_weights(old: int, new: int, weight_bits: int | None) -> np.ndarray:
    """Return the (new, old) matrix of the resize; antialiased: shrinking widens the kernel."""
    step = old / new
    widening = max(step, 1.0)
    reach = 2 * widening
    matrix = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * step
        first = max(math.floor(centre - reach + 0.5), 0)
        last = min(math.floor(centre + reach + 0.5), old)
        row = np.array([_cubic((j - centre + 0.5) / widening) for j in range(first, last)])
        matrix[i, first:last] = row / row.sum()
    if weight_bits is not None:
        scaled = matrix * 2.0**weight_bits
        matrix = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) / 2.0**weight_bits
    return matrix


def _apply(matrix: np.ndarray, grey: np.ndarray, axis: int) -> np.ndarray:
    """Apply `matrix` along `axis`, then round to 0..255."""
    moved = np.moveaxis(np.tensordot(matrix, grey, axes=(1, axis)), 0, axis)
    return np.clip(np.floor(moved + 0.5), 0, 255)
