"""Multi-level dilated convolution: Keras's own checks, its dilations, and what is refused."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.layers.test_inverted_residual import BAD_IN_A_BLOCK
from tests.marks import slow_but_on_torch


@pytest.mark.parametrize(
    ("options", "trainable"),
    [({}, 2 + 4 * 4), ({"dilations": [1, 2, 3], "kernel_size": 3}, 2 + 5 * 4)],
)
def test_run_layer_test(options, trainable):
    shape = (2, 7, 5, 4)
    run_layer_test(layers.MultiLevelDilatedConv, options, shape, shape, trainable)


@pytest.mark.parametrize(
    ("options", "trainable"),
    [
        pytest.param({"drop_path_rate": 0.1}, 18 + 11 + 2, id="scale"),
        pytest.param({"layer_scale": None, "kernel_size": 3}, 18 + 11, id="plain"),
    ],
)
def test_run_layer_test_block(options, trainable):
    shape = (2, 7, 5, 4)
    run_layer_test(layers.MLDCBlock, options, shape, shape, trainable)


def test_what_an_output_sees():
    """With the two dilations, pixels at the distances 0, 2 and 3, seen through the 7 x 7 kernel."""
    layer = layers.MultiLevelDilatedConv(kernel_size=1)
    layer.build((1, 13, 13, 1))
    for part in layer.levels:
        part.conv.kernel.assign(np.ones((3, 3, 1, 1)))
    x = np.zeros((13, 13, 13, 1), "float32")
    x[range(13), range(13), :] = 1  # a row in each image
    plain = ops.convert_to_numpy(layer(np.zeros((1, 13, 13, 1), "float32")))
    found = ops.convert_to_numpy(layer(x)) - plain
    assert set(np.flatnonzero(np.abs(found[:, 6, 6, 0]) > 1e-6)) == {3, 4, 6, 8, 9}


@slow_but_on_torch
@pytest.mark.parametrize("layer", [layers.MultiLevelDilatedConv, layers.MLDCBlock])
@pytest.mark.parametrize("dilations", [2, (), (2, 0), "ab", None])
def test_bad_dilations(layer, dilations):
    message = "`dilations` must be a sequence of one or more positive integers"
    with pytest.raises(ValueError, match=message):
        layer(dilations)


@slow_but_on_torch
def test_dilations_in_an_array():
    assert layers.MultiLevelDilatedConv(np.array([2, 3])).dilations == (2, 3)


@slow_but_on_torch
@pytest.mark.parametrize(("name", "value"), BAD_IN_A_BLOCK)
def test_bad_arguments_of_a_block(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
        layers.MLDCBlock(**{name: value})
