"""Resizing and adaptive pooling of feature maps, most of it as matrix products.

`keras.ops.image.resize` supports neither sizes that are known only when the graph runs nor
`align_corners`. These functions support both, and are differentiable on every backend. Its bicubic
filters also differ from backend to backend.
"""

from typing import Any

import numpy as np
from keras import ops


def resize_bilinear(inputs: Any, size: tuple, align_corners: bool = False) -> Any:
    """Resize a map bilinearly, without antialiasing.

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        size: tuple. The new (height, width): integers, or scalar tensors if they are known only
            when the graph runs.
        align_corners: bool. Whether the centres of the corner pixels are aligned. Otherwise, pixels
            have half-pixel centres.

    Returns:
        Tensor (b, height, width, c), of the dtype of `inputs`.

    Example:
    >>> resize_bilinear(ops.reshape(ops.array([0.0, 1.0]), (1, 1, 2, 1)), (1, 4)).flatten().tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    rows = _interpolation_matrix(ops.shape(inputs)[1], size[0], align_corners)  # (height, h)
    columns = _interpolation_matrix(ops.shape(inputs)[2], size[1], align_corners)  # (width, w)
    outputs = ops.einsum("yh,bhwc->bywc", ops.cast(rows, inputs.dtype), inputs)
    return ops.einsum("xw,bywc->byxc", ops.cast(columns, inputs.dtype), outputs)


def _interpolation_matrix(old: Any, new: Any, align_corners: bool) -> Any:
    """Return the weights (new, old) of linear interpolation along one axis."""
    if isinstance(old, int) and isinstance(new, int):
        xp, arange = np, lambda n: np.arange(n, dtype="float64")
        limit, longest = float(old - 1), float(max(new - 1, 1))
    else:
        xp, arange = ops, lambda n: ops.cast(ops.arange(n), "float32")
        limit = ops.cast(old - 1, "float32")
        longest = ops.cast(ops.maximum(new - 1, 1), "float32")
    if align_corners:
        positions = arange(new) * (limit / longest)
    else:
        scale = old / new if xp is np else ops.cast(old, "float32") / ops.cast(new, "float32")
        positions = xp.clip((arange(new) + 0.5) * scale - 0.5, 0.0, limit)
    distances = xp.abs(xp.expand_dims(positions, 1) - xp.expand_dims(arange(old), 0))
    weights = xp.maximum(1.0 - distances, 0.0)
    return weights.astype("float32") if xp is np else weights


def resize_bicubic(inputs: Any, size: tuple) -> Any:
    """Resize a map by bicubic interpolation with antialiasing and half-pixel centres.

    The filter is Keys' with a = -0.5, stretched by the factor of the reduction, as in Pillow and in
    PyTorch's `interpolate(..., mode="bicubic", antialias=True)`.

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        size: tuple. The new (height, width): integers, or scalar tensors if they are known only
            when the graph runs.

    Returns:
        Tensor (b, height, width, c), of the dtype of `inputs`.

    Example:
    >>> x = ops.reshape(ops.array([0.0, 1.0, 2.0, 3.0]), (1, 1, 4, 1))
    >>> [round(value, 4) for value in resize_bicubic(x, (1, 2)).flatten().tolist()]
    [0.5868, 2.4132]
    """
    rows = _bicubic_matrix(ops.shape(inputs)[1], size[0])  # (height, h)
    columns = _bicubic_matrix(ops.shape(inputs)[2], size[1])  # (width, w)
    outputs = ops.einsum("yh,bhwc->bywc", ops.cast(rows, inputs.dtype), inputs)
    return ops.einsum("xw,bywc->byxc", ops.cast(columns, inputs.dtype), outputs)


def _bicubic_matrix(old: Any, new: Any) -> Any:
    """Return the weights (new, old) of antialiased bicubic interpolation along one axis."""
    if isinstance(old, int) and isinstance(new, int):
        xp, ratio = np, old / new
        places, centres = (np.arange(n, dtype="float64") + 0.5 for n in (old, new))
    else:
        xp, ratio = ops, ops.cast(old, "float32") / ops.cast(new, "float32")
        places, centres = (ops.cast(ops.arange(n), "float32") + 0.5 for n in (old, new))
    distances = xp.expand_dims(places, 0) - xp.expand_dims(centres * ratio, 1)
    x = xp.abs(distances / xp.maximum(ratio, 1.0))
    near, far = ((1.5 * x - 2.5) * x) * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    weights = xp.where(x < 1.0, near, xp.where(x < 2.0, far, xp.zeros_like(x)))
    weights = weights / xp.sum(weights, axis=1, keepdims=True)
    return weights.astype("float32") if xp is np else weights


def resize_like(inputs: Any, like: Any) -> Any:
    """Resize a map bilinearly to the sides of another map, with half-pixel centres.

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        like: Tensor. Shape (b, height, width, any).

    Returns:
        Tensor (b, height, width, c), of the dtype of `inputs`.

    Example:
    >>> tuple(resize_like(ops.ones((1, 2, 3, 4)), ops.ones((1, 5, 7, 1))).shape)
    (1, 5, 7, 4)
    """
    return _resize_to(inputs, ops.shape(like)[1:3])


def _resize_to(inputs: Any, size: tuple) -> Any:
    """Resize a map bilinearly to sides that may be unknown when the graph is built."""
    old, new = tuple(inputs.shape[1:3]), tuple(size)
    if None in (*old, *new) or any(ops.is_tensor(side) for side in new):
        return resize_bilinear(inputs, size)
    if old == new:
        return inputs
    return ops.image.resize(
        inputs, new, interpolation="bilinear", antialias=False, data_format="channels_last"
    )


def double(inputs: Any) -> Any:
    """Double the sides of a map bilinearly, with half-pixel centres.

    Args:
        inputs: Tensor. Shape (b, h, w, c).

    Returns:
        Tensor (b, 2 h, 2 w, c), of the dtype of `inputs`.

    Example:
    >>> double(ops.reshape(ops.array([0.0, 1.0]), (1, 1, 2, 1)))[0, 0, :, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    return _resize_to(inputs, tuple(2 * side for side in ops.shape(inputs)[1:3]))


def double_like(inputs: Any, like: Any) -> Any:
    """Double the sides of a map bilinearly, and resize the result to those of another map.

    It is one resize, whose matrices are the products of those of the two. Nothing is left for the
    second of them if the other map is twice as large.

    Args:
        inputs: Tensor. Shape (b, h, w, c).
        like: Tensor. Shape (b, height, width, any).

    Returns:
        Tensor (b, height, width, c), of the dtype of `inputs`.

    Example:
    >>> tuple(double_like(ops.ones((1, 2, 3, 4)), ops.ones((1, 4, 5, 1))).shape)
    (1, 4, 5, 4)
    """
    old, new = tuple(inputs.shape[1:3]), tuple(like.shape[1:3])
    if None not in (*old, *new) and new == (2 * old[0], 2 * old[1]):
        return double(inputs)
    outputs = inputs
    for axis, product in ((1, "yh,bhwc->bywc"), (2, "yw,bhwc->bhyc")):
        old, new = ops.shape(inputs)[axis], ops.shape(like)[axis]
        first = _interpolation_matrix(old, 2 * old, align_corners=False)
        matrix = ops.matmul(_interpolation_matrix(2 * old, new, align_corners=False), first)
        outputs = ops.einsum(product, ops.cast(matrix, inputs.dtype), outputs)
    return outputs


def resize_nearest(inputs: Any, like: Any) -> Any:
    """Resize a map to the height and width of another by nearest-neighbour sampling.

    Row y of the result is row floor(y * h / height) of the input, and the same holds for columns.

    Args:
        inputs: Tensor of shape (batch, h, w, channels).
        like: Tensor of shape (batch, height, width, any).

    Returns:
        Tensor of shape (batch, height, width, channels).

    Example:
    >>> x = ops.reshape(ops.arange(2), (1, 1, 2, 1))
    >>> ops.convert_to_numpy(resize_nearest(x, like=ops.zeros((1, 1, 4, 1))))[0, 0, :, 0].tolist()
    [0, 0, 1, 1]
    """
    old, new = ops.shape(inputs)[1:3], ops.shape(like)[1:3]
    for axis in (0, 1):
        index = ops.arange(new[axis], dtype="int32") * old[axis] // new[axis]
        inputs = ops.take(inputs, index, axis=axis + 1)
    return inputs


def average_pool_to(inputs: Any, side: int) -> Any:
    """Average a map over a grid of `side` x `side` bins, as PyTorch's adaptive pooling does.

    Bin i holds the rows from floor(i h / side) to ceil((i + 1) h / side), and likewise the columns.

    Args:
        inputs: Tensor. Shape (b, h, w, c). The sides may be smaller than the grid's.
        side: int. Number of bins per side.

    Returns:
        Tensor (b, side, side, c), of the dtype of `inputs`.

    Example:
    >>> tuple(average_pool_to(ops.ones((1, 7, 5, 4)), 3).shape)
    (1, 3, 3, 4)
    """
    rows = _bin_matrix(ops.shape(inputs)[1], side)  # (side, h)
    columns = _bin_matrix(ops.shape(inputs)[2], side)  # (side, w)
    outputs = ops.einsum("yh,bhwc->bywc", ops.cast(rows, inputs.dtype), inputs)
    return ops.einsum("xw,bywc->byxc", ops.cast(columns, inputs.dtype), outputs)


def _bin_matrix(size: Any, bins: int) -> Any:
    """Return the weights (bins, size) of the means over bins along one axis."""
    known = isinstance(size, int)
    xp = np if known else ops
    number = xp.expand_dims(xp.arange(bins, dtype="int32"), 1)
    place = xp.expand_dims(xp.arange(size, dtype="int32"), 0)
    starts, ends = number * size // bins, -(-(number + 1) * size // bins)
    inside = xp.logical_and(place >= starts, place < ends)
    weights = inside.astype("float32") if known else ops.cast(inside, "float32")
    return weights / xp.sum(weights, axis=1, keepdims=True)
