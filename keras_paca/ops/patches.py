"""Conversion between maps (b, height, width, c) and patches (b, height x width, c), and back.

| backend | form of the projection of square patches of an image               |
| ------- | ------------------------------------------------------------------ |
| all     | the image with one row per patch, then a matrix product            |

A convolution whose stride is the side of its kernel computes the same, but slower.

Measured by `python benchmarks/ops.py patches` on two CPU cores, for 8 images of 224 x 224 x 3,
patches of 28 x 28 and 768 filters in float32, in ms for the outputs / with the gradients:

| form                                      | TensorFlow | JAX      | PyTorch  |
| ----------------------------------------- | ---------- | -------- | -------- |
| a convolution                             | 25 / 64    | 48 / 109 | 51 / 119 |
| one row per patch, then a matrix product  | 16 / 33    | 36 / 80  | 24 / 52  |
"""

import math
from typing import Any

from keras import ops

from keras_paca.ops.linear import linear


def count_patches(map_shape: tuple) -> int | None:
    """Return height x width of a map's shape, or `None` if either is unknown.

    Args:
        map_shape: tuple. (batch, height, width, channels).

    Example:
    >>> count_patches((None, 7, 5, 8))
    35
    """
    height, width = map_shape[1], map_shape[2]
    return None if height is None or width is None else height * width


def flatten_map(inputs: Any) -> Any:
    """Return the patches of a map, row by row.

    Args:
        inputs: Tensor. Shape (b, h, w, c).

    Returns:
        Tensor (b, h x w, c).

    Example:
    >>> tuple(flatten_map(ops.ones((2, 7, 5, 8))).shape)
    (2, 35, 8)
    """
    patches = count_patches(inputs.shape)
    if patches is None:
        return ops.reshape(inputs, (ops.shape(inputs)[0], -1, inputs.shape[-1]))
    return ops.reshape(inputs, (-1, patches, inputs.shape[-1]))


def unflatten_patches(patches: Any, like: Any) -> Any:
    """Return patches as a map with the height and width of another map.

    Args:
        patches: Tensor. Shape (b, h x w, c).
        like: Tensor. Shape (b, h, w, any).

    Returns:
        Tensor (b, h, w, c).

    Example:
    >>> tuple(unflatten_patches(ops.ones((2, 35, 8)), ops.ones((2, 7, 5, 1))).shape)
    (2, 7, 5, 8)
    """
    height, width = like.shape[1], like.shape[2]
    if height is None or width is None:
        batch, height, width, _ = ops.shape(like)
        return ops.reshape(patches, (batch, height, width, patches.shape[-1]))
    return ops.reshape(patches, (-1, height, width, patches.shape[-1]))


def halve(size: int | None) -> int | None:
    """Return the side of a map after a 3 x 3 convolution of stride 2 with padding 1.

    Args:
        size: int. The side before, or `None` if it is unknown.

    Example:
    >>> halve(7)
    4
    """
    return None if size is None else math.ceil(size / 2)


def project_patches(inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """Project each square patch of an image: a convolution with as large a stride as its kernel.

    What is left at the bottom and at the right is cut off, as such a convolution does.

    Args:
        inputs: Tensor. Shape (b, h, w, c), with sides of at least `patch`.
        kernel: Tensor or keras.Variable. Shape (patch, patch, c, filters).
        bias: Tensor, keras.Variable or None. Shape (filters,).

    Returns:
        Tensor (b, h // patch, w // patch, filters).

    Example:
    >>> tuple(project_patches(ops.ones((2, 9, 13, 3)), ops.ones((4, 4, 3, 8))).shape)
    (2, 2, 3, 8)
    """
    patch, _, channels, filters = kernel.shape
    _, height, width, _ = ops.shape(inputs)
    rows, columns = height // patch, width // patch
    whole = all(isinstance(side, int) and side % patch == 0 for side in (height, width))
    if not whole:
        inputs = inputs[:, : rows * patch, : columns * patch]
    # no tensor of more than four axes, which some runtimes don't have
    x = ops.reshape(inputs, (-1, patch, columns, patch * channels))  # (b rows, y, columns, x c)
    x = ops.transpose(x, (0, 2, 1, 3))
    x = ops.reshape(x, (-1, rows, columns, patch * patch * channels))
    return linear(x, ops.reshape(kernel, (patch * patch * channels, filters)), bias)
