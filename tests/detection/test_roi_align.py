"""RoIAlign, against a plain loop."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.detection.roi_align import box_levels, roi_align
from tests.marks import slow_but_on_torch


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


@slow_but_on_torch
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


@slow_but_on_torch
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
