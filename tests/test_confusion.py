"""Confusion matrices and what is computed of them."""

import json

import numpy as np
import pytest

from keras_paca.confusion import Confusion, count_pairs

COUNTS = np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]])  # the third class doesn't occur


def test_measures():
    confusion = Confusion(COUNTS, ["cat", "dog", "bird"])
    assert confusion.total == 8
    assert confusion.accuracy == pytest.approx(5 / 8)
    assert confusion.class_accuracies == pytest.approx([3 / 4, 2 / 4, np.nan], nan_ok=True)
    assert confusion.mean_class_accuracy == pytest.approx(5 / 8)
    expected = [3 / 6, 2 / 5, np.nan]
    assert confusion.intersections_over_unions == pytest.approx(expected, nan_ok=True)
    assert confusion.mean_iou == pytest.approx(0.45)


def test_a_form_for_json():
    found = json.loads(json.dumps(Confusion(COUNTS, ["cat", "dog", "bird"]).to_dict()))
    assert found["confusion"] == COUNTS.tolist()
    assert found["classes"][1] == {"name": "dog", "count": 4, "accuracy": 0.5, "iou": 0.4}
    assert found["classes"][2] == {"name": "bird", "count": 0, "accuracy": None, "iou": None}
    empty = Confusion(np.zeros((2, 2), int), ["a", "b"]).to_dict()
    assert empty["total"] == 0
    assert empty["accuracy"] is empty["mean_iou"] is None


def test_pairs_are_counted():
    draw = np.random.default_rng(0)
    truth, given = draw.integers(0, 3, (2, 5, 40))
    expected = [[((truth == i) & (given == j)).sum() for j in range(3)] for i in range(3)]
    np.testing.assert_array_equal(count_pairs(truth, given, 3), expected)
