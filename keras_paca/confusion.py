"""How often a model took one class for another, and the measures that follow from it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Counts of images or pixels by their true class and the class that a model gave them.

    Args:
        counts: Array (classes, classes) of integers; rows are the true classes, columns the given
            ones.
        class_names: Sequence of str. The name of each class.

    Example:
    >>> confusion = Confusion(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
    >>> confusion.accuracy
    0.85
    """

    counts: np.ndarray
    class_names: Sequence[str]

    @property
    def total(self) -> int:
        """How many images or pixels there are."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of all that got their true class; NaN where there are none."""
        return _share(np.trace(self.counts), self.counts.sum())

    @property
    def class_accuracies(self) -> list[float]:
        """Share of each class that got it; NaN where the class doesn't occur."""
        return [
            _share(*pair)
            for pair in zip(np.diag(self.counts), self.counts.sum(axis=1), strict=True)
        ]

    @property
    def intersections_over_unions(self) -> list[float]:
        """Overlap of what has each class and what got it; NaN where neither occurs."""
        both = np.diag(self.counts)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        return [_share(*pair) for pair in zip(both, either, strict=True)]

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracies` over the classes that occur."""
        return _mean(self.class_accuracies)

    @property
    def mean_iou(self) -> float:
        """Mean of `intersections_over_unions` over the classes that occur or were given."""
        return _mean(self.intersections_over_unions)

    def to_dict(self) -> dict[str, Any]:
        """Return all measures as JSON takes them, `None` in place of NaN."""
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
    """Return the counts (classes, classes) of pairs of true and given classes.

    Args:
        truth: Array of class ids.
        given: Array of class ids, as many.
        classes: int. The number of classes.
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
