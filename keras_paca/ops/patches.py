"""Conversion between feature maps (b, height, width, c) and patches (b, height x width, c)."""

import math
from typing import Any

from keras import ops


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
