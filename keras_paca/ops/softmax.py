"""The softmax of assignments and attention, and the precision of what goes into it.

The largest float16 number is 65,504. The scores and logits of a trained network may exceed it; they
are infinite then, and the softmax of infinite numbers is NaN. bfloat16 has the range of float32.
"""

from typing import Any

import keras
from keras import ops


def to_float32(x: Any) -> Any:
    """Return a tensor in float32, or in its own dtype where that is wider.

    Args:
        x: Tensor. A tensor of a floating dtype.

    Example:
    >>> keras.backend.standardize_dtype(to_float32(ops.zeros((2,), "float16")).dtype)
    'float32'
    """
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def stable_softmax(logits: Any, axis: int) -> Any:
    """Return the softmax over an axis, computed in float32 or wider for every dtype of the logits.

    Args:
        logits: Tensor. Any shape.
        axis: int. The axis that sums to 1.

    Returns:
        Tensor of the same shape, float32 or wider.

    Example:
    >>> stable_softmax(ops.zeros((1, 4), "bfloat16"), axis=-1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    logits = to_float32(logits)
    if logits.shape[axis] == 1:
        # Keras's softmax would warn of an axis of size 1. The result still depends on the logits,
        # with gradient 0, because trainers would warn of weights without a gradient.
        return ops.exp(logits - logits)
    return ops.softmax(logits, axis=axis)
