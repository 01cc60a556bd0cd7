"""The exact GELU.

| backend    | inference        | training                                            |
| ---------- | ---------------- | --------------------------------------------------- |
| TensorFlow | `keras.ops.gelu` | forward and gradient, each compiled by XLA          |
| JAX        | `keras.ops.gelu` | x / 2 + x / 2 erf(x / sqrt(2))                      |
| PyTorch    | `keras.ops.gelu` | `keras.ops.gelu`                                    |

Exported files can't hold the forms for training.

Measured by `python benchmarks/ops.py gelu` on two CPU cores, for (8, 56, 56, 384) in float32, in ms
for the outputs / with the gradients:

| form              | TensorFlow | JAX     | PyTorch |
| ----------------- | ---------- | ------- | ------- |
| `keras.ops.gelu`  | 20 / 64    | 21 / 43 | 14 / 82 |
| form for training | 6.2 / 71   | 20 / 31 |         |

On TensorFlow, the form for training pays where the outputs are computed twice, as in `ConvMLP`: see
`keras_paca.ops.recompute`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def gelu(inputs: Any, training: bool = False) -> Any:
    """Return the exact GELU, x (1 + erf(x / sqrt(2))) / 2.

    Args:
        inputs: Tensor. Any shape.
        training: bool. Whether to use the form that is faster together with its gradient.

    Returns:
        Tensor of the shape and dtype of `inputs`.

    Example:
    >>> round(float(gelu(ops.array(1.0))), 4)
    0.8413
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
    """Return the GELU whose forward pass and gradient are compiled."""
    import tensorflow as tf

    forward = tf.function(_gelu, jit_compile=True)
    backward = tf.function(_gelu_gradient, jit_compile=True)
    return tf.custom_gradient(lambda x: (forward(x), functools.partial(backward, x)))
