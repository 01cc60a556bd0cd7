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


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"positive odd integer\. Received: kernel_size=4"):
        layers.DepthwiseConv2D(4)
