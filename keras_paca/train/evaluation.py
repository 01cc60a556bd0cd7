"""Evaluating a classifier on images whose classes are known."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca.confusion import Confusion, count_pairs


def evaluate_classifier(
    model: keras.Model,
    data: Any,
    class_names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Confusion:
    """Count how often a classifier predicts each class for images of each class.

    Args:
        model: keras.Model. A classifier whose outputs are scores (batch, classes).
        data: keras.utils.PyDataset or Sequence. Batches of (images, labels), such as an
            `ImageFolder`. The labels are one-hot (batch, classes) or integers (batch,).
        class_names: Sequence of str or None. The name of each class. By default the names that
            the model has, or else "class 0", "class 1" and so on.
        progress: Callable or None. Called after each batch with the number of batches done and the
            number of all batches.

    Returns:
        Confusion. The counts, from which `accuracy`, `class_accuracies` and other measures are
        computed.

    Raises:
        ValueError: If there are no batches; if the outputs or the labels aren't those of a
            classifier; or if their numbers of classes, or that of `class_names`, differ.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_paca.train import evaluate_classifier
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    >>> batches = [(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))]
    >>> evaluate_classifier(model, batches, ["cat", "dog"]).accuracy
    0.5
    """
    counts = None
    for index in range(len(data)):
        images, labels = data[index][:2]
        scores = keras.ops.convert_to_numpy(model.predict_on_batch(images))
        if scores.ndim != 2:
            raise ValueError(
                "Expected a classifier, whose outputs are scores (batch, classes). "
                f"Received: outputs of shape {scores.shape}"
            )
        classes = scores.shape[1]
        if counts is None:
            counts = np.zeros((classes, classes), "int64")
        counts += count_pairs(_indices(labels, classes), scores.argmax(axis=1), classes)
        if progress is not None:
            progress(index + 1, len(data))
    if counts is None:
        raise ValueError("Expected at least one batch of images. Received: none")
    names = class_names if class_names is not None else getattr(model, "class_names", None)
    if names is None:
        names = [f"class {number}" for number in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(
            f"`class_names` must name the model's {len(counts)} classes. Received: {len(names)}"
        )
    return Confusion(counts, list(names))


def _indices(labels: Any, classes: int) -> np.ndarray:
    """Return labels as class indices."""
    labels = keras.ops.convert_to_numpy(labels)
    if labels.ndim == 2 and labels.shape[1] == classes:
        return labels.argmax(axis=1)
    if labels.ndim != 1 and labels.shape[1:] != (1,):
        raise ValueError(
            f"Labels must be one-hot (batch, {classes}), for the model's {classes} classes, or "
            f"integers (batch,). Received: labels of shape {labels.shape}"
        )
    labels = labels.reshape(-1).astype("int64")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"Labels must be integers from 0 to {classes - 1}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels
