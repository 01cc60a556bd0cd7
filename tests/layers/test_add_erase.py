"""The gate that adds and erases."""

import numpy as np
import pytest
from keras import ops

from keras_paca.layers import AddErase
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test


def test_run_layer_test():
    shapes = {"inputs_shape": (2, 2, 3, 4), "target_shape": (2, 2, 3, 4)}
    run_layer_test(AddErase, {"tokens": 6}, shapes, (2, 2, 3, 4), 2, run_training_check=False)


def test_formula():
    layer = AddErase(6)
    layer.build((2, 2, 3, 4), (2, 2, 3, 4))
    randomise(layer)
    read, target = np.random.default_rng(0).normal(size=(2, 2, 2, 3, 4)).astype("float32")
    kernel, bias = layer.get_weights()
    gate = 1 / (1 + np.exp(-(read.mean((1, 2)) @ kernel + bias)))  # (b, tokens)
    gate = gate.reshape(2, 2, 3, 1)
    wanted = (1 - gate) * target + gate * read
    np.testing.assert_allclose(ops.convert_to_numpy(layer(read, target)), wanted, atol=1e-5)


def test_one_image_size():
    layer = AddErase(6)
    with pytest.raises(ValueError, match="made for maps of 6 tokens"):
        layer(np.zeros((1, 2, 2, 4)), np.zeros((1, 2, 2, 4)))
