"""Depthwise convolutions: Keras's own checks, and what is refused."""

import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test


@pytest.mark.parametrize(
    ("options", "trainable"),
    [
        pytest.param({"kernel_size": 3}, 2, id="depthwise"),
        pytest.param({"kernel_size": 5, "use_bias": False}, 1, id="depthwise_bare"),
    ],
)
def test_run_layer_test(options, trainable):
    shape = (2, 7, 5, 4)
    run_layer_test(layers.DepthwiseConv2D, options, shape, shape, trainable)


def test_run_layer_test_stride():
    options = {"kernel_size": 3, "strides": 2}
    run_layer_test(layers.DepthwiseConv2D, options, (2, 7, 6, 4), (2, 4, 3, 4), 2)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"positive odd integer\. Received: kernel_size=4"):
        layers.DepthwiseConv2D(4)
    with pytest.raises(ValueError, match=r"`strides` must be one of \(1, 2\)"):
        layers.DepthwiseConv2D(3, strides=3)
    with pytest.raises(ValueError, match="A shortcut needs a stride of 1"):
        layers.DepthwiseConv2D(3, strides=2, shortcut=True)
