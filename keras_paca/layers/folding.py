"""Folding scales and centres into the projections beside them, from one layer into another."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops


class Affine(NamedTuple):
    """y = scale x + centre, channel by channel: two arrays (channels,) of float64."""

    scale: np.ndarray | float = 1.0
    centre: np.ndarray | float = 0.0


UNCHANGED = Affine()


def read(variable: Any, default: float = 0.0) -> Any:
    """Return a variable as a float64 array, and `default` for `None`."""
    if variable is None:
        return default
    return ops.convert_to_numpy(variable).astype("float64")


def affine_of(norm: keras.layers.Layer | None) -> Affine:
    """Return what a layer or batch norm does after it has normed; in inference a batch norm's all.

    Args:
        norm: `LayerNormalization`, `BatchNormalization`, or `None` for no norm.
    """
    if norm is None:
        return UNCHANGED
    scale, centre = read(norm.gamma, 1.0), read(norm.beta)
    if isinstance(norm, keras.layers.BatchNormalization):
        scale = scale / np.sqrt(read(norm.moving_variance) + norm.epsilon)
        centre = centre - read(norm.moving_mean) * scale
    return Affine(scale, centre)


def fold_projection(
    target: keras.layers.Layer,
    source: keras.layers.Layer,
    before: Affine = UNCHANGED,
    after: Affine = UNCHANGED,
) -> None:
    """Write after(source(before(x))) into `target` as one projection.

    Args:
        target: `Dense` or `Conv2D`; without a bias only the kernel is written.
        source: the same with other weights, and a bias or none.
        before: what comes before a `Dense`. A convolution that pads can't hold a centre.
        after: what comes after.
    """
    kernel, bias = folded(source, before, after)
    target.kernel.assign(kernel)
    if target.bias is not None:
        target.bias.assign(bias)


def folded(
    source: keras.layers.Layer, before: Affine = UNCHANGED, after: Affine = UNCHANGED
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias of after(source(before(x))); see `fold_projection`."""
    kernel = read(source.kernel)  # (..., channels, filters), LoRA's share included
    bias = read(source.bias)
    if before is not UNCHANGED:
        channels = kernel.shape[-2]
        bias = bias + np.broadcast_to(before.centre, channels) @ kernel
        kernel = np.broadcast_to(before.scale, channels)[:, None] * kernel
    bias = np.broadcast_to(bias * after.scale + after.centre, kernel.shape[-1])
    return kernel * after.scale, bias


def take_weights(target: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Copy the weights of `source` into `target`; fold them where only `target` is fused.

    Args:
        target: a layer or model, built.
        source: one of the same configuration, but for `fused`.

    Raises:
        ValueError: if they don't have the same layers.
    """
    _take(target, source, set())


def _take(target: keras.layers.Layer, source: keras.layers.Layer, done: set[int]) -> None:
    if id(target) in done:  # it is part of several models
        return
    done.add(id(target))
    if hasattr(target, "fold") and getattr(target, "fused", False) and not source.fused:
        target.fold(source)
        return
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    copies = {key: np.array(ops.convert_to_numpy(value)) for key, value in store.items()}
    if copies:
        target.load_own_variables(copies)
    mine, theirs = (
        [layer for layer in x._flatten_layers(include_self=False, recursive=False) if layer.weights]
        for x in (target, source)
    )
    if [type(layer) for layer in mine] != [type(layer) for layer in theirs]:
        raise ValueError(
            f"{source.name!r} and the layer made of its configuration don't have the same layers. "
            f"Received: {[layer.name for layer in theirs]}, made: {[layer.name for layer in mine]}"
        )
    for part, of in zip(mine, theirs, strict=True):
        _take(part, of, done)
