"""Feed-forward networks of two projections."""

import numpy as np
from keras import ops
from scipy.special import erf

from keras_paca.layers import MLP, ResidualMLP
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


def test_run_layer_test():
    options = {"hidden_units": 5, "units": 3, "dropout": 0.1}
    run_layer_test(MLP, options, (2, 7, 4), (2, 7, 3), 4)


@slow_but_on_torch
def test_run_layer_test_residual():
    run_layer_test(ResidualMLP, {"dropout": 0.1}, (2, 3, 5, 4), (2, 3, 5, 4), 6)


def test_formula():
    layer = ResidualMLP(2.0)
    layer.build((2, 3, 5, 4))
    randomise(layer)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    scale, offset, w1, b1, w2, b2 = layer.get_weights()
    assert w1.shape == (4, 8)
    y = x - x.mean(-1, keepdims=True)
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-5) * scale + offset
    y = y @ w1 + b1
    wanted = x + (0.5 * y * (1 + erf(y / np.sqrt(2)))) @ w2 + b2
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), wanted, rtol=1e-4, atol=1e-5)
