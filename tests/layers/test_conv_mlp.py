"""Feed-forward networks: Keras's own checks, and their dropout."""

import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test


@pytest.mark.parametrize(
    ("options", "trainable"),
    [
        pytest.param({"dropout": 0.1}, 6, id="conv_mlp"),
        pytest.param(
            {"mlp_ratio": 2.0, "dwconv": False, "shortcut": False}, 4, id="conv_mlp_plain"
        ),
    ],
)
def test_run_layer_test(options, trainable):
    run_layer_test(layers.ConvMLP, options, (2, 7, 5, 4), (2, 7, 5, 4), trainable)


def test_dropout(images):
    """The share of zeros is the rate, in outputs that have none otherwise."""
    layer, x = layers.ConvMLP(dropout=0.4), images(600, 1, 1, 4) / 255
    assert (ops.convert_to_numpy(layer(x)) != 0).all()
    zeros = (ops.convert_to_numpy(layer(x, training=True)) == 0).mean()
    assert abs(zeros - 0.4) < 0.08
