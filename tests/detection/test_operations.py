"""Boxes, suppression, RoIAlign, sampling and masks, each against a plain loop."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.detection.boxes import decode_boxes, encode_boxes, pairwise_iou, suppress
from keras_paca.detection.paste import paste_masks
from keras_paca.detection.proposals import level_anchors, make_proposals
from keras_paca.detection.roi_align import box_levels, roi_align
from keras_paca.detection.targets import assign, crop_masks, sample


def random_boxes(draw, *shape, size=100.0, least=1.0):
    corner = draw.uniform(0, 0.7 * size, (*shape, 2))
    sides = draw.uniform(least, 0.3 * size, (*shape, 2))
    return np.concatenate([corner, corner + sides], axis=-1).astype("float32")


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


def test_anchors():
    anchors = ops.convert_to_numpy(level_anchors(2, 3, 4))
    assert anchors.shape == (18, 4)
    sides = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(sides[:, 0] * sides[:, 1], 32 * 32, rtol=1e-5)
    np.testing.assert_allclose((sides[:, 1] / sides[:, 0])[:3], [0.5, 1, 2], rtol=1e-5)
    centres = (anchors[:, 2:] + anchors[:, :2]) / 2
    np.testing.assert_allclose(centres[::3], [[0, 0], [4, 0], [8, 0], [0, 4], [4, 4], [8, 4]])


def align_one(features, box, bins, stride):
    """Return the region of one box, sample by sample."""
    height, width, channels = features.shape
    left, top, right, bottom = np.asarray(box, "float64") / stride - 0.5
    counts = [max(int(np.ceil(side / bins)), 0) for side in (bottom - top, right - left)]
    result = np.zeros((bins, bins, channels))
    if 0 in counts:
        return result
    for p in range(bins):
        for q in range(bins):
            for i in range(counts[0]):
                for j in range(counts[1]):
                    y = top + (bottom - top) / bins * (p + (i + 0.5) / counts[0])
                    x = left + (right - left) / bins * (q + (j + 0.5) / counts[1])
                    if not (-1 <= y <= height and -1 <= x <= width):
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    y0, x0 = int(y), int(x)
                    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                    dy, dx = y - y0, x - x0
                    result[p, q] += (
                        (1 - dy) * (1 - dx) * features[y0, x0]
                        + (1 - dy) * dx * features[y0, x1]
                        + dy * (1 - dx) * features[y1, x0]
                        + dy * dx * features[y1, x1]
                    )
    return result / (counts[0] * counts[1])


def pyramid(height, width, seed=0):
    draw = np.random.default_rng(seed)
    shapes = [(1, -(-height // s), -(-width // s), 3) for s in (4, 8, 16, 32)]
    return [draw.standard_normal(shape).astype("float32") for shape in shapes]


@pytest.mark.parametrize("bins", [7, 14])
def test_roi_align_is_the_official_one(bins):
    """Extreme aspects, boxes at the borders, without area, and of every level."""
    height, width = 160, 600
    boxes = np.array(
        [
            [0, 0, 288, 160],
            [0, 0, 288, 3],
            [100, 0, 102, 160],
            [250.3, 120.7, 288, 160],
            [10, 10, 10, 40],
            [50.2, 60.1, 75.9, 101.3],
            [0, 0, 1, 1],
            [20, 20, 200, 150],
            [20, 3, 590, 157],
        ],
        "float32",
    )
    levels = pyramid(height, width)
    found = ops.convert_to_numpy(roi_align(levels, boxes[None], bins, (4, 8, 16, 32)))[0]
    of = ops.convert_to_numpy(box_levels(boxes, 4))
    assert {0, 1, 2} <= set(of.tolist())
    for region, box, level in zip(found, boxes, of, strict=True):
        expected = align_one(levels[level][0], box, bins, 4 * 2**level)
        np.testing.assert_allclose(region, expected, atol=2e-5)


def test_roi_align_of_every_aspect():
    """Whatever the shape and place of a box, partly outside the image too, none of it is missed."""
    height, width = 200, 900
    draw = np.random.default_rng(0)
    side = np.exp(draw.uniform(np.log(4), np.log(700), (80, 1)))
    aspect = np.exp(draw.uniform(np.log(1 / 60), np.log(60), (80, 1)))
    sides = np.concatenate([side * np.sqrt(aspect), side / np.sqrt(aspect)], axis=1)
    sides[:8] = [[w, 111.9**2 / w] for w in (14, 20, 112, 400, 626, 800, 890, 899)]  # at the bound
    centre = draw.uniform(0, 1, (80, 2)) * (width, height)
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1).astype("float32")
    levels = pyramid(height, width)
    found = ops.convert_to_numpy(roi_align(levels, boxes[None], 7, (4, 8, 16, 32)))[0]
    of = ops.convert_to_numpy(box_levels(boxes, 4))
    assert set(of.tolist()) == {0, 1, 2, 3}
    for region, box, level in zip(found, boxes, of, strict=True):
        expected = align_one(levels[level][0], box, 7, 4 * 2**level)
        np.testing.assert_allclose(region, expected, atol=1e-4)


def test_roi_align_has_a_gradient():
    """Of the maps: the sum over a region is linear in them."""
    levels, boxes = pyramid(64, 64), np.array([[[5, 9, 31, 40.5], [0, 0, 64, 64]]], "float32")
    direction = np.random.default_rng(1).standard_normal(levels[0].shape).astype("float32")
    weights = np.random.default_rng(2).standard_normal((1, 2, 7, 7, 3)).astype("float32")

    def total(finest):
        regions = roi_align([finest, *levels[1:]], boxes, 7, (4, 8, 16, 32))
        return ops.sum(regions * ops.convert_to_tensor(weights))

    gradient = gradient_of(total, levels[0])
    along = float(total(levels[0] + direction)) - float(total(levels[0]))
    assert np.sum(gradient * direction) == pytest.approx(along, rel=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's of its own parts
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="tested above, compiled by XLA")
def test_roi_align_compiles_whole_on_pytorch():
    import torch

    boxes = torch.tensor([[[5, 9, 31, 40.5], [0, 0, 64, 64]]])
    levels = [torch.tensor(level, requires_grad=True) for level in pyramid(64, 64)]
    expected = roi_align(levels, boxes, 7, (4, 8, 16, 32))
    (gradient,) = torch.autograd.grad(expected.square().sum(), levels[0])
    compiled = torch.compile(roi_align, fullgraph=True)
    found = compiled(levels, boxes, 7, (4, 8, 16, 32))
    torch.testing.assert_close(found, expected)
    (found,) = torch.autograd.grad(found.square().sum(), levels[0])
    torch.testing.assert_close(found, gradient)


def gradient_of(function, x):
    """Return the gradient of a function at x, compiled by XLA on TensorFlow and JAX."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x)

        return gradient(tf.constant(x)).numpy()
    if backend == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(function))(x))
    import torch

    x = torch.tensor(x, requires_grad=True)
    function(x).backward()
    return x.grad.numpy()


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


def test_pasted_masks():
    grid = np.zeros((1, 2, 28, 28), "float32")
    grid[:, :, 14:] = 1
    predictions = {
        "boxes": np.array([[[4, 8, 32, 36], [0, 0, 0, 0]]], "float32"),
        "masks": grid,
        "count": np.array([1]),
    }
    (found,) = paste_masks(predictions, (40, 50))
    assert found.shape == (1, 40, 50)
    expected = np.zeros((40, 50), bool)
    expected[22:36, 4:32] = True
    np.testing.assert_array_equal(found[0], expected)
