"""Copies of models with 16-bit policies that compute in float32, for exports."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras

from keras_paca.deploy.failures import sentence
from keras_paca.inference.rebuild import rebuild

HALF = re.compile(r"(mixed_)?b?float16")  # part of the names of dtypes and policies


def precision_of(model: keras.Model) -> str:
    """Return the precision in which a model computes: that of its least precise layer.

    Args:
        model: keras.Model. The model.

    Returns:
        str. "float32", "float16" or "bfloat16".

    Example:
    >>> dense = keras.layers.Dense(2, dtype="mixed_float16")
    >>> precision_of(keras.Sequential([keras.Input((4,)), dense]))
    'float16'
    """
    found = {layer.compute_dtype for layer in model._flatten_layers()}
    found |= {keras.backend.standardize_dtype(entry.dtype) for entry in model.inputs}
    return next((name for name in ("bfloat16", "float16") if name in found), "float32")


def float32_copy(model: keras.Model) -> keras.Model:
    """Return a copy of a model, with the same weights, that computes in float32.

    Args:
        model: keras.Model. A model with a policy such as "mixed_float16" or "bfloat16".

    Returns:
        keras.Model. A new model, not compiled.

    Raises:
        ValueError: If a copy can't be built from its configuration.

    Example:
    >>> dense = keras.layers.Dense(2, dtype="bfloat16")
    >>> model = keras.Sequential([keras.Input((4,), dtype="bfloat16"), dense])
    >>> float32_copy(model).compute_dtype
    'float32'
    """
    try:
        config = in_float32(keras.saving.serialize_keras_object(model))
        with _float32_by_default():
            return rebuild(model, config)
    except Exception as error:  # of any class, because a layer of the user's may have raised it
        raise ValueError(
            f"A model that computes in {precision_of(model)} is exported as a float32 copy, which "
            'could not be made of its configuration. Build it with dtype="float32" and copy the '
            f"weights: copy.set_weights(model.get_weights()). Received: {sentence(error)}"
        ) from error


def in_float32(node: Any, of_dtype: bool = False) -> Any:
    """Return a configuration, or part of one, with float32 in place of 16-bit dtypes.

    Args:
        node: Any. The configuration.
        of_dtype: bool. Whether it is the value of a key such as "dtype".

    Returns:
        Any. A new configuration.

    Example:
    >>> in_float32({"name": "float16", "dtype": "mixed_float16"})
    {'name': 'float16', 'dtype': 'float32'}
    """
    if isinstance(node, dict):
        return {
            key: in_float32(value, of_dtype or str(key).endswith("dtype"))
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return type(node)(in_float32(value, of_dtype) for value in node)
    return HALF.sub("float32", node) if of_dtype and isinstance(node, str) else node


@contextlib.contextmanager
def _float32_by_default() -> Iterator[None]:
    """Let layers without their own policy compute in float32."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
