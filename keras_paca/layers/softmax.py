"""The softmax of assignments and attention, and what goes into it.

The numbers of float16 end at 65,504, which the scores and logits of a trained network may exceed:
then they are infinite, and the softmax of several of them is NaN. bfloat16 ends where float32 does.
"""

from typing import Any

import keras
from keras import ops


def logits_policy(policy: Any) -> Any:
    """Return the policy of a layer whose outputs go into a softmax: float32 in place of float16.

    Args:
        policy: DTypePolicy. The policy of the layer around it.
    """
    return "float32" if policy.compute_dtype == "float16" else policy


def attention_scores(query: Any, key: Any) -> Any:
    """Return query key^T over the last axis, in float32 where the inputs are float16.

    Args:
        query: Tensor (..., n, d).
        key: Tensor (..., m, d).

    Returns:
        Tensor (..., n, m).
    """
    if keras.backend.standardize_dtype(query.dtype) == "float16":
        query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
    return ops.matmul(query, ops.swapaxes(key, -1, -2))


def stable_softmax(logits: Any, axis: int) -> Any:
    """Return the softmax over `axis`, in float32 or wider whatever the type of `logits`."""
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if logits.shape[axis] == 1:
        # One patch, or one cluster: Keras's softmax would warn. Its 1 hangs on the logits still,
        # with gradient 0; a constant would make trainers warn of weights without gradients.
        return ops.exp(logits - logits)
    return ops.softmax(logits, axis=axis)
