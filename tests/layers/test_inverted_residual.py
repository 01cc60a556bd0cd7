"""Local blocks: Keras's own checks, their scale, and drop path."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

BAD_IN_A_BLOCK = [  # of this kind of block and of `MLDCBlock`
    ("layer_scale", -1.0),
    ("layer_scale", "a"),
    ("expansion", 1.5),
    ("expansion", 0),
    ("drop_path_rate", "a"),
    ("drop_path_rate", 1.0),
    ("kernel_size", 4),
    ("remat", "no"),
]


@pytest.mark.parametrize(
    ("options", "trainable"),
    [
        pytest.param({"drop_path_rate": 0.1}, 13, id="scale"),
        pytest.param({"layer_scale": None, "expansion": 2, "kernel_size": 5}, 12, id="plain"),
    ],
)
def test_run_layer_test(options, trainable):
    shape = (2, 7, 5, 4)
    run_layer_test(layers.InvertedResidual, options, shape, shape, trainable)


def test_scale_and_drop_path(images):
    """The branch is scaled by g, and all of it is dropped in some samples of a training batch."""
    x = images(32, 3, 3, 4) / 255
    small, large = (layers.InvertedResidual(layer_scale=g, drop_path_rate=0.5) for g in (0.1, 1.0))
    for layer in (small, large):
        layer.build(x.shape)
    large.set_weights([*small.get_weights()[:-1], small.get_weights()[-1]])
    index = [w.name for w in large.weights].index("scale")
    values = small.get_weights()
    assert values[index] == pytest.approx(np.full(4, 0.1))
    values[index] = np.ones(4)
    large.set_weights(values)
    branch, scaled = (ops.convert_to_numpy(layer(x)) - x for layer in (large, small))
    np.testing.assert_allclose(scaled, 0.1 * branch, rtol=1e-4, atol=1e-6)
    kept = (ops.convert_to_numpy(large(x, training=True)) != x).any(axis=(1, 2, 3))
    assert 0 < kept.sum() < 32


@slow_but_on_torch
@pytest.mark.parametrize(("name", "value"), BAD_IN_A_BLOCK)
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
        layers.InvertedResidual(**{name: value})
