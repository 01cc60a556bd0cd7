"""Anchors and proposals."""

import numpy as np
from keras import ops

from keras_paca.detection.proposals import RegionProposalNetwork, level_anchors, make_proposals
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(
        RegionProposalNetwork,
        {"channels": 4},
        [(2, 9, 8, 4), (2, 5, 4, 4), (2, 3, 2, 4)],
        ([(2, 216), (2, 60), (2, 18)], [(2, 216, 4), (2, 60, 4), (2, 18, 4)]),
        6,
        run_training_check=False,  # several outputs have no single loss; trained in Mask R-CNN
        run_mixed_precision_check=False,  # logits are float32 on purpose
    )


def test_anchors():
    anchors = ops.convert_to_numpy(level_anchors(2, 3, 4))
    assert anchors.shape == (18, 4)
    sides = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(sides[:, 0] * sides[:, 1], 32 * 32, rtol=1e-5)
    np.testing.assert_allclose((sides[:, 1] / sides[:, 0])[:3], [0.5, 1, 2], rtol=1e-5)
    centres = (anchors[:, 2:] + anchors[:, :2]) / 2
    np.testing.assert_allclose(centres[::3], [[0, 0], [4, 0], [8, 0], [0, 4], [4, 4], [8, 4]])


def test_proposals_of_few_anchors():
    """Fewer anchors than are asked for: the rest is empty, and says so."""
    draw = np.random.default_rng(0)
    anchors = [level_anchors(2, 2, 4), level_anchors(1, 1, 8)]
    objectness = [
        ops.convert_to_tensor(draw.standard_normal((2, len(a))), "float32") for a in anchors
    ]
    deltas = [ops.zeros((2, len(a), 4)) for a in anchors]
    boxes, scores = make_proposals(objectness, deltas, anchors, (40, 40), 20, 30)
    boxes, scores = ops.convert_to_numpy(boxes), ops.convert_to_numpy(scores)
    assert boxes.shape == (2, 30, 4)
    real = scores > -np.inf
    assert 0 < real.sum() < real.size
    assert (boxes[~real] == 0).all()
    assert (np.diff(np.where(real, scores, -99)) <= 0).all()
