"""The softmax of assignments and attention, and the precision of what goes into it.

float16 ends at 65,504, which the scores and logits of a trained network may exceed: they are
infinite then, and a softmax of several infinite numbers is NaN. bfloat16 ends where float32 does.
"""

from typing import Any

import keras
from keras import ops


def stable_softmax(logits: Any, axis: int) -> Any:
    """Return the softmax over an axis, in float32 or wider whatever the dtype of the logits.

    Args:
        logits: Tensor. Any shape.
        axis: int. The axis that sums to 1.

    Returns:
        Tensor of the same shape, float32 or wider.

    Example:
    >>> stable_softmax(ops.zeros((1, 4), "bfloat16"), axis=-1).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if logits.shape[axis] == 1:
        # With one patch or one cluster, Keras's softmax would warn. The 1 still depends on the
        # logits, with gradient 0: trainers would warn of weights without a gradient otherwise.
        return ops.exp(logits - logits)
    return ops.softmax(logits, axis=axis)
