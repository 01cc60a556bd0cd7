"""Scores of ImageNet-1k's classes, by name."""

from typing import Any

import numpy as np
from keras import ops

from keras_paca.labels import imagenet_classes

NUM_CLASSES = 1000


def decode_predictions(predictions: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the `top` highest scores of each image.

    Equal scores keep the order of the class indices; a NaN ranks below every number.

    Args:
        predictions: scores (batch, 1000), logits or probabilities: a NumPy array or a tensor of
            any backend.
        top: how many classes to name, 1 <= top <= 1000.

    Returns:
        One list per image of (WordNet id, name, score), the highest score first.

    Raises:
        ValueError: if `predictions` isn't of shape (batch, 1000) or `top` not in 1..1000.
    """
    if isinstance(top, bool) or not isinstance(top, int | np.integer) or not 1 <= top <= 1000:
        raise ValueError(f"`top` must be an integer from 1 to {NUM_CLASSES}. Received: top={top!r}")
    scores = _to_float64(predictions)
    if scores.ndim != 2 or scores.shape[1] != NUM_CLASSES:
        raise ValueError(
            f"`predictions` must have the shape (batch, {NUM_CLASSES}), one score per class of "
            f"ImageNet-1k. Received the shape {scores.shape}"
        )
    classes = imagenet_classes()
    # Negated, not reversed: so equal scores keep their order and NaNs go last.
    order = np.argsort(-scores, axis=-1, kind="stable")[:, :top]
    return [
        [(*classes[index], float(row[index])) for index in best]
        for row, best in zip(scores, order, strict=True)
    ]


def _to_float64(predictions: Any) -> np.ndarray:
    """Return `predictions` as a float64 NumPy array."""
    if hasattr(predictions, "detach"):
        # A PyTorch tensor that needs gradients, or in bfloat16, refuses NumPy under the others.
        predictions = predictions.detach().cpu().double()
    return np.asarray(ops.convert_to_numpy(predictions)).astype("float64")
