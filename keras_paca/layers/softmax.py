"""The softmax of assignments and attention."""

from typing import Any

import keras
from keras import ops


def stable_softmax(logits: Any, axis: int) -> Any:
    """Return the softmax over `axis`, in float32 or wider whatever the type of `logits`."""
    logits = ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))
    if logits.shape[axis] == 1:
        # One patch, or one cluster: Keras's softmax would warn. Its 1 hangs on the logits still,
        # with gradient 0; a constant would make trainers warn of weights without gradients.
        return ops.exp(logits - logits)
    return ops.softmax(logits, axis=axis)
