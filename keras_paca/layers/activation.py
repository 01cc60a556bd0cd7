"""The activation of feed-forward networks and clusterings."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def gelu(inputs: Any, training: bool = False) -> Any:
    """Return the exact GELU, x (1 + erf(x / sqrt(2))) / 2.

    Args:
        inputs: tensor.
        training: whether to take the form that is faster with its gradient, on TensorFlow a
            compiled one; exported models could not hold either.
    """
    if training and keras.backend.backend() == "jax":
        return _gelu(inputs)
    if training and keras.backend.backend() == "tensorflow":
        return _fused_for_tensorflow()(inputs)
    return ops.gelu(inputs, approximate=False)


def _gelu(x: Any) -> Any:
    half = 0.5 * x
    return half + half * ops.erf(x * 2**-0.5)


def _gelu_gradient(x: Any, gradient: Any) -> Any:
    density = ops.exp(-0.5 * x * x) * (2 * math.pi) ** -0.5
    return gradient * (0.5 + 0.5 * ops.erf(x * 2**-0.5) + x * density)


@functools.cache
def _fused_for_tensorflow() -> Callable[[Any], Any]:
    """Return the GELU in two passes over memory, one of them the gradient's, in place of 14."""
    import tensorflow as tf

    forward = tf.function(_gelu, jit_compile=True)
    backward = tf.function(_gelu_gradient, jit_compile=True)
    return tf.custom_gradient(lambda x: (forward(x), functools.partial(backward, x)))
