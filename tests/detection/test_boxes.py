"""Overlaps, deltas and suppression of boxes, each against a plain loop."""

import numpy as np
import pytest
from keras import ops

from keras_paca.detection.boxes import decode_boxes, encode_boxes, pairwise_iou, suppress
from tests.detection.draw import random_boxes


def greedy(boxes, valid, threshold, groups):
    """Return what greedy suppression keeps, one box after the other."""
    iou = ops.convert_to_numpy(pairwise_iou(boxes, boxes))
    kept = []
    for i in range(len(boxes)):
        rivals = [j for j in kept if groups[i] == groups[j] and iou[i, j] > threshold]
        if valid[i] and not rivals:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6])
def test_suppression_is_greedy(threshold):
    draw = np.random.default_rng(0)
    boxes = random_boxes(draw, 2, 120)
    valid = draw.uniform(size=(2, 120)) < 0.9
    groups = draw.integers(0, 3, (2, 120)).astype("int32")
    found = ops.convert_to_numpy(suppress(boxes, valid, threshold, groups))
    for i in range(2):
        assert np.flatnonzero(found[i]).tolist() == greedy(boxes[i], valid[i], threshold, groups[i])


def test_suppression_of_a_long_chain():
    """Each box competes with the next alone: every second one is kept."""
    left = 6.0 * np.arange(60, dtype="float32")
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=-1)
    found = ops.convert_to_numpy(suppress(boxes, np.ones(60, bool), 0.2))
    assert found.tolist() == [True, False] * 30


def test_deltas_go_there_and_back():
    draw = np.random.default_rng(0)
    boxes, anchors = random_boxes(draw, 50), random_boxes(draw, 50, least=5.0)
    for deviations in ((1.0,) * 4, (0.1, 0.1, 0.2, 0.2)):
        deltas = encode_boxes(boxes, anchors, deviations)
        found = ops.convert_to_numpy(decode_boxes(deltas, anchors, (100, 100), deviations))
        np.testing.assert_allclose(found, boxes, atol=1e-3)


def test_decoded_boxes_end_at_the_image_and_grow_within_bounds():
    anchors = np.array([[40, 40, 41, 41], [0, 0, 9, 9]], "float32")
    deltas = np.array([[0, 0, 99, 99], [-5, 0, 0, 0]], "float32")
    found = ops.convert_to_numpy(decode_boxes(deltas, anchors, (50, 200)))
    np.testing.assert_allclose(found[0], [40.5 - 31.25, 9.25, 40.5 + 31.25, 50], rtol=1e-4)
    assert found[1].tolist() == [0, 0, 0, 9]
