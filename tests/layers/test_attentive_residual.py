"""Residual blocks with attentive normalization: Keras's own checks, shortcuts, and drop path."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

BLOCKS = {
    "bottleneck": layers.AttentiveBottleneck,
    "inverted": layers.AttentiveInvertedResidual,
}
CASES = {  # block, arguments, output of a map (2, 7, 5, 8), trainable weights
    # 3 convolutions, 2 norms of 2 weights, and the tables, the projection and the norm of the AN
    "same": ("bottleneck", {"filters": 2, "drop_path_rate": 0.1}, (2, 7, 5, 8), 3 + 4 + 5),
    "halved": ("bottleneck", {"filters": 3, "strides": 2}, (2, 4, 3, 12), 3 + 4 + 5 + 3),
    "inverted": ("inverted", {"filters": 8, "drop_path_rate": 0.1}, (2, 7, 5, 8), 3 + 4 + 5),
    "bare": ("inverted", {"filters": 6, "strides": 2, "expansion": 1}, (2, 4, 3, 6), 2 + 2 + 5),
}


@slow_but_on_torch
@pytest.mark.parametrize("name", CASES)
def test_run_layer_test(name):
    kind, options, shape, trainable = CASES[name]
    options = {"mixtures": 3, **options}
    run_layer_test(BLOCKS[kind], options, (2, 7, 5, 8), shape, trainable)


def test_the_bottleneck_starts_as_its_shortcut(images):
    """The scale of the last norm is 0 at first."""
    x = images(2, 7, 5, 8) / 255
    found = ops.convert_to_numpy(layers.AttentiveBottleneck(2, mixtures=3)(x, training=True))
    np.testing.assert_array_equal(found, x)


@slow_but_on_torch
@pytest.mark.parametrize("kind", BLOCKS)
def test_drop_path(kind, images):
    """All of the branch is dropped in some samples of a training batch, and in none otherwise."""
    x = images(32, 3, 3, 8) / 255
    options = {"filters": 2 if kind == "bottleneck" else 8, "mixtures": 3, "drop_path_rate": 0.5}
    block = BLOCKS[kind](**options)
    block.build(x.shape)
    randomise(block)
    changed = (ops.convert_to_numpy(block(x, training=True)) != x).any(axis=(1, 2, 3))
    assert 0 < changed.sum() < 32
    assert (ops.convert_to_numpy(block(x)) != x).any(axis=(1, 2, 3)).all()


@slow_but_on_torch
def test_a_shortcut_only_between_maps_of_one_shape(images):
    x = images(1, 6, 6, 8)
    for options, has in (({}, True), ({"strides": 2}, False), ({"filters": 4}, False)):
        block = layers.AttentiveInvertedResidual(**{"filters": 8, "mixtures": 3, **options})
        block.build(x.shape)
        assert block.has_shortcut is has
    for options, has in (({}, False), ({"strides": 2}, True), ({"filters": 4}, True)):
        block = layers.AttentiveBottleneck(**{"filters": 2, "mixtures": 3, **options})
        block.build(x.shape)
        assert (block.shortcut is not None) is has


@slow_but_on_torch
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("filters", 0),
        ("mixtures", 0),
        ("strides", 3),
        ("expansion", 1.5),
        ("drop_path_rate", 1.0),
        ("remat", "no"),
    ],
)
def test_bad_arguments(kind, name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
        BLOCKS[kind](**{"filters": 8, "mixtures": 3, name: value})
