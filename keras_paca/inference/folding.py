"""Folding scales and offsets into the projections before or after them.

Folding means that two linear operations become one, whose weights are their product.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_paca.forms import is_twin
from keras_paca.frozen import parts_of


class Affine(NamedTuple):
    """A scale and an offset of each channel: y = scale x + offset.

    Attributes:
        scale: np.ndarray or float. Shape (channels,), float64.
        offset: np.ndarray or float. Shape (channels,), float64.

    Example:
    >>> scale, offset = Affine(scale=np.array([2.0, 3.0]), offset=1.0)
    >>> (scale * np.array([1.0, 10.0]) + offset).tolist()
    [3.0, 31.0]
    """

    scale: np.ndarray | float = 1.0
    offset: np.ndarray | float = 0.0

    def then(self, other: "Affine") -> "Affine":
        """Return the operation that applies this one and then another.

        Args:
            other: Affine. The operation that comes after.
        """
        return Affine(self.scale * other.scale, self.offset * other.scale + other.offset)


UNCHANGED = Affine()


def to_float64(variable: Any, default: float = 0.0) -> Any:
    """Return a variable as an array of float64, or `default` for `None`.

    Args:
        variable: keras.Variable, Tensor or None. The variable.
        default: float. The value that is returned for `None`.

    Example:
    >>> to_float64(None, 1.0)
    1.0
    """
    if variable is None:
        return default
    return ops.convert_to_numpy(variable).astype("float64")


def affine_of(norm: keras.layers.Layer | None) -> Affine:
    """Return the scale and the offset of a norm in inference.

    A layer normalization applies them to the normalized inputs. A batch normalization applies them
    to the inputs, and that is all it does in inference.

    Args:
        norm: keras.layers.Layer or None. A `LayerNormalization` or `BatchNormalization`.

    Example:
    >>> norm = keras.layers.BatchNormalization(epsilon=0.0)
    >>> norm.build((None, 2))
    >>> affine_of(norm).scale.tolist()
    [1.0, 1.0]
    """
    if norm is None:
        return UNCHANGED
    scale, offset = to_float64(norm.gamma, 1.0), to_float64(norm.beta)
    if isinstance(norm, keras.layers.BatchNormalization):
        scale = scale / np.sqrt(to_float64(norm.moving_variance) + norm.epsilon)
        offset = offset - to_float64(norm.moving_mean) * scale
    return Affine(scale, offset)


def fold_projection(
    target: keras.layers.Layer,
    source: keras.layers.Layer,
    before: Affine = UNCHANGED,
    after: Affine = UNCHANGED,
) -> None:
    """Write after(source(before(x))) into the weights of one projection.

    Args:
        target: keras.layers.Layer. A `Dense` or `Conv2D`, built. If it has no bias, only the kernel
            is written.
        source: keras.layers.Layer. A `Dense` or `Conv2D` of the same shape, with or without a bias.
        before: Affine. The operation before the projection; without an offset for a convolution,
            whose padding comes in between.
        after: Affine. The operation after the projection.

    Example:
    >>> source, target = keras.layers.Dense(2), keras.layers.Dense(2)
    >>> for layer in (source, target):
    ...     layer.build((None, 3))
    >>> fold_projection(target, source, after=Affine(scale=2.0, offset=1.0))
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
        source: keras.layers.Layer. A `Dense` or `Conv2D`, built.
        before: Affine. The operation before it.
        after: Affine. The operation after it.

    Returns:
        tuple of np.ndarray. The kernel and the bias, float64.

    Raises:
        ValueError: If there is an offset before a convolution.

    Example:
    >>> source = keras.layers.Dense(2, kernel_initializer="ones")
    >>> source.build((None, 3))
    >>> kernel, bias = folded(source, before=Affine(scale=2.0, offset=1.0))
    >>> kernel[0].tolist(), bias.tolist()
    ([2.0, 2.0], [3.0, 3.0])
    """
    kernel = to_float64(source.kernel)  # (..., channels, filters), LoRA included
    bias = to_float64(source.bias)
    if before is not UNCHANGED:
        channels = kernel.shape[-2]
        if np.any(before.offset):
            if kernel.ndim > 2:
                raise ValueError(
                    "A convolution can't include the offset of an operation before it. "
                    f"Received: {source.name!r}"
                )
            bias = bias + np.broadcast_to(before.offset, channels) @ kernel
        kernel = np.broadcast_to(before.scale, channels)[:, None] * kernel
    bias = np.broadcast_to(bias * after.scale + after.offset, kernel.shape[-1])
    return kernel * after.scale, bias


def copy_weights(
    target: keras.layers.Layer,
    source: keras.layers.Layer,
    converters: Mapping[type, Callable[[Any, Any], None]] | None = None,
) -> None:
    """Copy the weights of a layer or model, or fold them where only the target is a twin.

    Args:
        target: keras.layers.Layer. A layer or model, built.
        source: keras.layers.Layer. A layer or model of the same configuration, except for the form.
        converters: dict. {class of a layer: function of its counterpart and the layer, which copies
            the weights}, for layers that are of other classes in the target.

    Raises:
        ValueError: If they don't have the same layers.

    Example:
    >>> source, target = keras.layers.Dense(2), keras.layers.Dense(2)
    >>> for layer in (source, target):
    ...     layer.build((None, 3))
    >>> copy_weights(target, source)
    >>> bool(np.array_equal(target.get_weights()[0], source.get_weights()[0]))
    True
    """
    _copy(target, source, converters or {}, set())


def _copy(
    target: keras.layers.Layer,
    source: keras.layers.Layer,
    converters: Mapping[type, Callable[[Any, Any], None]],
    done: set[int],
) -> None:
    if id(target) in done:  # it is part of several models
        return
    done.add(id(target))
    if type(source) in converters:
        converters[type(source)](target, source)
        return
    if hasattr(target, "fold") and is_twin(type(target)) and not is_twin(type(source)):
        target.fold(source)
        return
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    copies = {key: np.array(ops.convert_to_numpy(value)) for key, value in store.items()}
    if copies:
        target.load_own_variables(copies)
    parts, source_parts = parts_of(target), parts_of(source)
    if len(parts) != len(source_parts) or any(
        type(part).__name__ != type(source_part).__name__ and type(source_part) not in converters
        for part, source_part in zip(parts, source_parts, strict=True)
    ):
        raise ValueError(
            f"{source.name!r} and the layer made of its configuration don't have the same layers. "
            f"Received: {[x.name for x in source_parts]}, made: {[x.name for x in parts]}"
        )
    for part, source_part in zip(parts, source_parts, strict=True):
        _copy(part, source_part, converters, done)
