"""Predictions of two objects, in every format of boxes."""

import keras
import numpy as np

SIZE = (40, 60)
BOXES = np.array([[[4, 8, 32, 36], [40, 20, 56, 30], [0, 0, 0, 0]]], "float32")


def found(kind="xyxy", **more):
    """Return predictions of two objects in an image of 40 x 60 pixels."""
    boxes = keras.utils.bounding_boxes.convert_format(BOXES, "xyxy", kind, *SIZE)
    return {
        "boxes": keras.ops.convert_to_numpy(boxes),
        "scores": np.array([[0.9, 0.8, 0]], "float32"),
        "labels": np.array([[1, 0, -1]]),
        "masks": np.ones((1, 3, 28, 28), "float32"),
        "count": np.array([2]),
        **more,
    }


def without(predictions, *names):
    return {name: array for name, array in predictions.items() if name not in names}
