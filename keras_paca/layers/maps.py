"""Between feature maps (b, height, width, c) and patches (b, height x width, c)."""

import math
from typing import Any

import numpy as np
from keras import ops


def count_patches(map_shape: tuple) -> int | None:
    """Return height x width of a map's shape, `None` where either is unknown."""
    height, width = map_shape[1], map_shape[2]
    return None if height is None or width is None else height * width


def flatten_map(inputs: Any) -> Any:
    """Return the patches (b, h x w, c) of a map (b, h, w, c), rows before columns."""
    patches = count_patches(inputs.shape)
    if patches is None:
        return ops.reshape(inputs, (ops.shape(inputs)[0], -1, inputs.shape[-1]))
    return ops.reshape(inputs, (-1, patches, inputs.shape[-1]))


def unflatten_patches(patches: Any, like: Any) -> Any:
    """Return patches (b, h x w, c) as a map (b, h, w, c) of the size of the map `like`."""
    height, width = like.shape[1], like.shape[2]
    if height is None or width is None:
        batch, height, width, _ = ops.shape(like)
        return ops.reshape(patches, (batch, height, width, patches.shape[-1]))
    return ops.reshape(patches, (-1, height, width, patches.shape[-1]))


def halve(size: int | None) -> int | None:
    """Return the output side of a 3 x 3 convolution of stride 2 padded by one row on both sides."""
    return None if size is None else math.ceil(size / 2)


def resize_bilinear(inputs: Any, size: tuple, align_corners: bool = False) -> Any:
    """Resize a map bilinearly, without antialias, as two matrix products.

    `keras.ops.image.resize` takes neither sizes that are known only when the graph runs nor
    `align_corners`; this takes both and is differentiable on every backend.

    Args:
        inputs: map (b, h, w, c).
        size: the new (height, width); integers, or scalar tensors where unknown before the run.
        align_corners: whether the outer pixel centres stay fixed; else half-pixel centres.

    Returns:
        The map (b, height, width, c) in the type of `inputs`.
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


def resize_like(inputs: Any, like: Any) -> Any:
    """Resize a map bilinearly, half-pixel centres and no antialias, to the sides of another.

    Args:
        inputs: map (b, h, w, c).
        like: map (b, height, width, any).

    Returns:
        The map (b, height, width, c) in the type of `inputs`.
    """
    old, new = tuple(inputs.shape[1:3]), tuple(like.shape[1:3])
    if None in (*old, *new):
        return resize_bilinear(inputs, ops.shape(like)[1:3])
    if old == new:
        return inputs
    return ops.image.resize(
        inputs, new, interpolation="bilinear", antialias=False, data_format="channels_last"
    )


def average_pool_to(inputs: Any, side: int) -> Any:
    """Average a map over a grid of `side` x `side` bins, as PyTorch's adaptive pooling does.

    Bin i holds the rows from floor(i h / side) to ceil((i + 1) h / side), and so for columns.

    Args:
        inputs: map (b, h, w, c), of any size, smaller than the grid too.
        side: bins per side.

    Returns:
        The map (b, side, side, c) in the type of `inputs`.
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
