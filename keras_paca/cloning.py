"""Models that `keras.models.clone_model` would change into other ones."""

from collections.abc import Mapping
from typing import Any

import keras


def refuse_cloning(inputs: Any, kwargs: Mapping[str, Any], result: str) -> None:
    """Raise an error in a functional model's `_run_through_graph` that clones the model.

    Args:
        inputs: Any. Its inputs.
        kwargs: Mapping. Its keyword arguments.
        result: str. What the clone would be, for the message.

    Raises:
        ValueError: If `clone_model` called it, which makes a plain Functional.

    Example:
    >>> refuse_cloning(keras.ops.ones((1, 2)), {}, "a plain Functional")
    """
    # Only `clone_model` passes `call_fn` and symbolic inputs.
    symbolic = [isinstance(x, keras.KerasTensor) for x in keras.tree.flatten(inputs)]
    if "call_fn" in kwargs and any(symbolic):
        raise ValueError(
            f"`keras.models.clone_model` would make {result}. Copy it by "
            "`model.from_config(model.get_config())` and `copy.set_weights(model.get_weights())`."
        )
