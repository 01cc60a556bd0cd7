"""Sums over the replicas of a training on several devices.

Only TensorFlow runs one copy of the model per device, each on its own part of the batch. With
`keras.distribution` on JAX, an operation sees the whole batch.
"""

from typing import Any

import keras


def sum_over_replicas(x: Any) -> Any:
    """Return the sum of a tensor over the replicas of a `tf.distribute.Strategy`.

    Args:
        x: Tensor. Of the same shape on each replica.

    Returns:
        Tensor. The sum, on each replica; `x` itself where there are no replicas.

    Example:
    >>> float(sum_over_replicas(keras.ops.array(3.0)))
    3.0
    """
    if keras.backend.backend() != "tensorflow":
        return x
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()  # `None` outside of the replicas
    return x if replica is None else replica.all_reduce(tf.distribute.ReduceOp.SUM, x)
