"""Naming the ImageNet-1k classes with the highest scores."""

from typing import Any

import numpy as np
from keras import ops

from keras_paca.labels import imagenet_classes

NUM_CLASSES = 1000


def decode_predictions(predictions: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the ImageNet-1k classes with the highest scores, image by image.

    Classes with equal scores keep the order of their indices. A NaN ranks below every number.

    Args:
        predictions: array or Tensor. The scores of a classifier, logits or probabilities, of shape
            (batch, 1000).
        top: int. How many classes to name for each image, from 1 to 1000.

    Returns:
        list of list of (str, str, float). For each image the (WordNet id, name, score) of its best
        classes, the highest score first.

    Raises:
        ValueError: If `predictions` doesn't have the shape (batch, 1000), or if `top` isn't an
            integer from 1 to 1000.

    Example:
    >>> import numpy as np
    >>> from keras_paca import decode_predictions
    >>> scores = np.zeros((1, 1000))
    >>> scores[0, 207] = 0.9
    >>> decode_predictions(scores, top=1)
    [[('n02099601', 'golden_retriever', 0.9)]]
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
    # Sorting the negative scores keeps the order of equal ones and puts NaNs last.
    order = np.argsort(-scores, axis=-1, kind="stable")[:, :top]
    return [
        [(*classes[index], float(row[index])) for index in best]
        for row, best in zip(scores, order, strict=True)
    ]


def _to_float64(predictions: Any) -> np.ndarray:
    """Return `predictions` as a float64 NumPy array."""
    if hasattr(predictions, "detach"):
        # With other backends, NumPy can't convert a PyTorch tensor in bfloat16 or with gradients.
        predictions = predictions.detach().cpu().double()
    return np.asarray(ops.convert_to_numpy(predictions)).astype("float64")
