"""The confusion matrix of a classifier or a segmenter, and measures computed from it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix: counts of images or pixels by true class and predicted class.

    Args:
        counts: np.ndarray. (classes, classes), integers. The rows are the true classes, the
            columns the predicted ones.
        class_names: Sequence of str. The name of each class.

    Example:
    >>> import numpy as np
    >>> from keras_paca.confusion import Confusion
    >>> confusion = Confusion(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
    >>> confusion.accuracy
    0.85
    """

    counts: np.ndarray
    class_names: Sequence[str]

    @property
    def total(self) -> int:
        """The number of images or pixels, an int."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share of images or pixels that are predicted correctly, in 0..1; NaN without any."""
        return _share(np.trace(self.counts), self.counts.sum())

    @property
    def class_accuracies(self) -> list[float]:
        """The share of each true class that is predicted correctly; NaN if it doesn't occur."""
        return [
            _share(*pair)
            for pair in zip(np.diag(self.counts), self.counts.sum(axis=1), strict=True)
        ]

    @property
    def intersections_over_unions(self) -> list[float]:
        """The intersection over union of each class; NaN if it neither occurs nor is predicted."""
        both = np.diag(self.counts)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        return [_share(*pair) for pair in zip(both, either, strict=True)]

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of `class_accuracies` over the classes that occur."""
        return _mean(self.class_accuracies)

    @property
    def mean_iou(self) -> float:
        """The mean of `intersections_over_unions` over classes that occur or are predicted."""
        return _mean(self.intersections_over_unions)

    def to_dict(self) -> dict[str, Any]:
        """Return all measures in a form that JSON can hold, with `None` for NaN.

        Returns:
            dict. "total", "accuracy", "mean_class_accuracy" and "mean_iou"; "classes", a list with
            the "name", "count", "accuracy" and "iou" of each class; and "confusion", the counts as
            nested lists.
        """
        measures = {
            "accuracy": self.accuracy,
            "mean_class_accuracy": self.mean_class_accuracy,
            "mean_iou": self.mean_iou,
        }
        classes = [
            {"name": name, "count": int(count), "accuracy": accuracy, "iou": iou}
            for name, count, accuracy, iou in zip(
                self.class_names,
                self.counts.sum(axis=1),
                self.class_accuracies,
                self.intersections_over_unions,
                strict=True,
            )
        ]
        return {
            "total": self.total,
            **_without_nan(measures),
            "classes": [_without_nan(each) for each in classes],
            "confusion": self.counts.tolist(),
        }


def count_pairs(truth: np.ndarray, given: np.ndarray, classes: int) -> np.ndarray:
    """Count the pairs of true and predicted classes.

    Args:
        truth: np.ndarray. The true classes, integers in [0, classes).
        given: np.ndarray. The predicted classes, of the same size.
        classes: int. The number of classes.

    Returns:
        np.ndarray. (classes, classes), the counts by true class (rows) and predicted class
        (columns).

    Example:
    >>> count_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    cells = truth.astype("int64").ravel() * classes + given.ravel()
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in values.items()
    }
