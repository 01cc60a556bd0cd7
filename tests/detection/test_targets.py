"""What boxes are trained on: assignment, sampling, and masks in boxes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.detection.targets import assign, crop_masks, sample
from tests.detection.draw import random_boxes


def test_assignment():
    objects = np.array([[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 0, 0]]], "float32")
    boxes = np.array(
        [[[0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 64.9], [80, 80, 90, 90], [0, 0, 10, 21]]],
        "float32",
    )
    present = np.array([[True, True, False]])
    positive, negative, index = (
        ops.convert_to_numpy(a) for a in assign(boxes, objects, present, 0.7, 0.5, 0.3)
    )
    assert positive.tolist() == [[True, False, True, False, False]]  # the third as the best
    assert negative.tolist() == [[False, False, False, True, True]]
    assert index[0, :3].tolist() == [0, 0, 1]


def test_assignment_without_objects():
    boxes = random_boxes(np.random.default_rng(0), 1, 6)
    nothing = np.zeros((1, 2, 4), "float32"), np.zeros((1, 2), bool)
    positive, negative, _ = (
        ops.convert_to_numpy(a) for a in assign(boxes, *nothing, 0.7, 0.3, 0.3)
    )
    assert not positive.any()
    assert negative.all()


@pytest.mark.parametrize("positives", [0, 3, 40])
def test_sample(positives):
    draw = np.random.default_rng(0)
    positive = np.zeros((2, 100), bool)
    for row in positive:
        row[draw.permutation(100)[:positives]] = True
    negative = ~positive
    negative[:, ::7] = False
    seed = keras.random.SeedGenerator(3)
    first = [ops.convert_to_numpy(a) for a in sample(positive, negative, 32, 0.25, seed)]
    second = [ops.convert_to_numpy(a) for a in sample(positive, negative, 32, 0.25, seed)]
    assert not np.array_equal(first[0], second[0])
    for index, is_positive, used in zip(*first, strict=True):
        assert used.all()
        assert is_positive.sum() == min(positives, 8)
        assert is_positive[: is_positive.sum()].all()
        assert len(set(index.tolist())) == 32
    for i in range(2):
        assert positive[i][first[0][i][first[1][i]]].all()
        assert negative[i][first[0][i][~first[1][i]]].all()


def test_sample_of_too_few():
    nothing, few = np.zeros((1, 5), bool), np.array([[True, False, True, False, False]])
    index, positive, used = (
        ops.convert_to_numpy(a)
        for a in sample(nothing, few, 8, 0.25, keras.random.SeedGenerator(0))
    )
    assert used.sum() == 2
    assert not positive.any()
    assert set(index[0][used[0]].tolist()) == {0, 2}


@pytest.mark.parametrize("kind", ["bool", "uint8", "map"])
def test_masks_in_boxes(kind):
    masks = np.zeros((1, 2, 40, 60), bool)
    masks[0, 0, 10:20, 10:30] = True
    masks[0, 1, 25:, 40:] = True
    given = masks[0, 0] * 1 + masks[0, 1] * 2 if kind == "map" else masks[0].astype(kind)
    boxes = np.array([[[10, 10, 30, 20], [40, 0, 60, 40], [0, 10, 20, 20]]], "float32")
    found = ops.convert_to_numpy(crop_masks(given[None], np.array([[0, 1, 0]], "int32"), boxes, 8))[
        0
    ]
    assert found[0].all()
    np.testing.assert_array_equal(found[1], np.repeat(np.arange(8) >= 5, 8).reshape(8, 8))
    np.testing.assert_array_equal(found[2], np.tile(np.arange(8) >= 4, (8, 1)))
