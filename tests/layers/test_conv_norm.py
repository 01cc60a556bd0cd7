"""Convolutions and their norms: Keras's own checks, PyTorch's padding, and what is refused."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

CASES = {
    "pointwise": ({"filters": 6}, (2, 7, 5, 4), (2, 7, 5, 6)),
    "vectors": ({"filters": 6, "activate": True}, (8, 4), (8, 6)),
    "stride": ({"filters": 6, "kernel_size": 3, "strides": 2}, (2, 7, 6, 4), (2, 4, 3, 6)),
    "dilated": ({"filters": 6, "kernel_size": 3, "dilation_rate": 3}, (2, 7, 5, 4), (2, 7, 5, 6)),
    "relu6": (
        {"filters": 6, "strides": 2, "use_bias": False, "activate": True, "activation": "relu6"},
        (2, 7, 6, 4),
        (2, 4, 3, 6),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=slow_but_on_torch if x == "relu6" else []) for x in CASES]
)
def test_run_layer_test(name):
    options, shape, expected = CASES[name]
    run_layer_test(layers.ConvNorm, options, shape, expected, 3 + options.get("use_bias", True))


@pytest.mark.parametrize("use_bias", [True, False])
def test_run_layer_test_depthwise(use_bias):
    options = {"kernel_size": 3, "use_bias": use_bias, "activate": True}
    run_layer_test(layers.DepthwiseNorm, options, (2, 7, 5, 4), (2, 7, 5, 4), 3 + use_bias)


@pytest.mark.parametrize(
    ("options", "taps"),
    [
        ({"strides": 2}, {0: range(-1, 2), 1: range(1, 4)}),
        ({"dilation_rate": 2}, {0: range(-2, 3, 2), 5: range(3, 8, 2)}),
    ],
)
@pytest.mark.parametrize("side", [8, 9])
def test_padding_is_that_of_pytorch(options, taps, side):
    """Which pixels each output sees, the same ones at even and odd sides."""
    layer = layers.ConvNorm(1, 3, **options)
    layer.build((1, side, side, 1))
    layer.conv.kernel.assign(np.ones((3, 3, 1, 1)))
    x = np.zeros((side, side, side, 1), "float32")
    x[range(side), range(side), :] = 1  # a row in each image
    found = ops.convert_to_numpy(layer(x))[:, :, side // 4, 0]
    for output, rows in taps.items():
        seen = set(np.flatnonzero(found[:, output]))
        assert seen == {row for row in rows if 0 <= row < side}


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 5}, r"`kernel_size` must be one of \(1, 3, 7\). Received: kernel_size=5"),
        ({"filters": -1}, "`filters` must be a positive integer. Received: filters=-1"),
        ({"kernel_size": 3, "strides": 3}, "`strides` must be 1, or 2 for a kernel that isn't"),
        ({"activation": "tanh"}, r"`activation` must be one of \('gelu', 'relu', 'relu6'\)"),
        ({"use_bias": 1}, "`use_bias` must be True or False"),
        ({"fan": "avg"}, r"`fan` must be one of \('in', 'out'\)"),
        ({"kernel_size": 3, "strides": 2, "dilation_rate": 2}, "dilation_rate=2"),
        ({"kernel_size": 3, "dilation_rate": 0}, "`dilation_rate` must be a positive integer"),
        ({"kernel_size": 3, "dilation_rate": "a"}, "`dilation_rate` must be a positive integer"),
        ({"dilation_rate": 2}, "`dilation_rate` must be 1 for a 1 x 1 kernel"),
        ({"activate": "gelu"}, "`activate` must be True or False"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        layers.ConvNorm(**{"filters": 4, **options})


def test_strides_of_vectors():
    with pytest.raises(ValueError, match=r"`strides=2` needs a map.*\(None, 4\)"):
        layers.ConvNorm(4, strides=2).build((None, 4))


@slow_but_on_torch
@pytest.mark.parametrize("name", ["use_bias", "activate"])
def test_bad_arguments_depthwise(name):
    with pytest.raises(ValueError, match=f"`{name}` must be True or False"):
        layers.DepthwiseNorm(3, **{name: "no"})


@slow_but_on_torch
def test_initial_values():
    """Those of PyTorch's "Kaiming normal": the deviation is sqrt(2 / fan_in)."""
    dense, conv, depthwise = layers.ConvNorm(64), layers.ConvNorm(64, 3), layers.DepthwiseNorm(7)
    for layer, shape in ((dense, (1, 4, 4, 96)), (conv, (1, 4, 4, 32)), (depthwise, (1, 4, 4, 64))):
        layer.build(shape)
    for weight, deviation in (
        (dense.conv.kernel, np.sqrt(2 / 96)),
        (conv.conv.kernel, np.sqrt(2 / (9 * 32))),
        (depthwise.conv.kernel, np.sqrt(2 / 49)),
    ):
        values = ops.convert_to_numpy(weight)
        assert abs(values.mean()) < 4 * deviation / np.sqrt(values.size)
        assert abs(values.std() / deviation - 1) < 4 / np.sqrt(values.size)
    outputs = layers.ConvNorm(16, 7, use_bias=False, gamma_initializer="zeros", fan="out")
    outputs.build((1, 8, 8, 32))
    values = ops.convert_to_numpy(outputs.conv.kernel)
    assert abs(values.std() / np.sqrt(2 / (49 * 16)) - 1) < 4 / np.sqrt(values.size)
    assert not ops.convert_to_numpy(outputs.norm.gamma).any()
    for layer in (dense, conv, depthwise):
        assert not ops.convert_to_numpy(layer.conv.bias).any()
        assert layer.norm.epsilon == 1e-5
        assert layer.norm.momentum == 0.9
