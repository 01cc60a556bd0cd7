"""Folding scales and centres into the projections beside them, from one layer into another.

"Folding" means: to write the product of two linear operations into the weights of one.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_paca.forms import is_twin


class Affine(NamedTuple):
    """y = scale x + centre, channel by channel.

    Attributes:
        scale: Array (channels,) of float64, or a number.
        centre: Array (channels,) of float64, or a number.
    """

    scale: np.ndarray | float = 1.0
    centre: np.ndarray | float = 0.0


UNCHANGED = Affine()


def to_float64(variable: Any, default: float = 0.0) -> Any:
    """Return a variable as an array of float64, and `default` for `None`.

    Args:
        variable: Variable or tensor, or `None`.
        default: float. What stands for `None`.

    Example:
    >>> to_float64(None, 1.0)
    1.0
    """
    if variable is None:
        return default
    return ops.convert_to_numpy(variable).astype("float64")


def affine_of(norm: keras.layers.Layer | None) -> Affine:
    """Return the scale and the centre of a norm, in inference.

    For a layer norm these are applied after the mean and the variance of the input are gone; for a
    batch norm they are all that it does.

    Args:
        norm: `LayerNormalization`, `BatchNormalization`, or `None` for no norm.

    Example:
    >>> norm = keras.layers.BatchNormalization(epsilon=0.0)
    >>> norm.build((None, 2))
    >>> affine_of(norm).scale.tolist()
    [1.0, 1.0]
    """
    if norm is None:
        return UNCHANGED
    scale, centre = to_float64(norm.gamma, 1.0), to_float64(norm.beta)
    if isinstance(norm, keras.layers.BatchNormalization):
        scale = scale / np.sqrt(to_float64(norm.moving_variance) + norm.epsilon)
        centre = centre - to_float64(norm.moving_mean) * scale
    return Affine(scale, centre)


def fold_projection(
    target: keras.layers.Layer,
    source: keras.layers.Layer,
    before: Affine = UNCHANGED,
    after: Affine = UNCHANGED,
) -> None:
    """Write after(source(before(x))) into the weights of one projection.

    Args:
        target: `Dense` or `Conv2D`, built. Without a bias, only the kernel is written.
        source: `Dense` or `Conv2D` of the same shape, with or without a bias.
        before: Affine. What comes before a `Dense`. A convolution that pads can't hold a centre.
        after: Affine. What comes after it.

    Example:
    >>> source, target = keras.layers.Dense(2), keras.layers.Dense(2)
    >>> for layer in (source, target):
    ...     layer.build((None, 3))
    >>> fold_projection(target, source, after=Affine(scale=2.0, centre=1.0))
    >>> ops.convert_to_numpy(target.bias).tolist()
    [1.0, 1.0]
    """
    kernel, bias = folded(source, before, after)
    target.kernel.assign(kernel)
    if target.bias is not None:
        target.bias.assign(bias)


def folded(
    source: keras.layers.Layer, before: Affine = UNCHANGED, after: Affine = UNCHANGED
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of after(source(before(x))) as arrays; see `fold_projection`.

    Args:
        source: `Dense` or `Conv2D`, built.
        before: Affine. What comes before it.
        after: Affine. What comes after it.
    """
    kernel = to_float64(source.kernel)  # (..., channels, filters), with LoRA's share
    bias = to_float64(source.bias)
    if before is not UNCHANGED:
        channels = kernel.shape[-2]
        bias = bias + np.broadcast_to(before.centre, channels) @ kernel
        kernel = np.broadcast_to(before.scale, channels)[:, None] * kernel
    bias = np.broadcast_to(bias * after.scale + after.centre, kernel.shape[-1])
    return kernel * after.scale, bias


def copy_weights(target: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Copy the weights of a layer or model; a twin folds those of a layer that is none.

    Args:
        target: Layer or model, built.
        source: Layer or model. One of the same configuration, but for the form.

    Raises:
        ValueError: If they don't have the same layers.
    """
    _copy(target, source, set())


def _copy(target: keras.layers.Layer, source: keras.layers.Layer, done: set[int]) -> None:
    if id(target) in done:  # it is part of several models
        return
    done.add(id(target))
    if hasattr(target, "fold") and is_twin(type(target)) and not is_twin(type(source)):
        target.fold(source)
        return
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    copies = {key: np.array(ops.convert_to_numpy(value)) for key, value in store.items()}
    if copies:
        target.load_own_variables(copies)
    parts, source_parts = (
        [layer for layer in x._flatten_layers(include_self=False, recursive=False) if layer.weights]
        for x in (target, source)
    )
    if [type(x).__name__ for x in parts] != [type(x).__name__ for x in source_parts]:
        raise ValueError(
            f"{source.name!r} and the layer made of its configuration don't have the same layers. "
            f"Received: {[x.name for x in source_parts]}, made: {[x.name for x in parts]}"
        )
    for part, source_part in zip(parts, source_parts, strict=True):
        _copy(part, source_part, done)
