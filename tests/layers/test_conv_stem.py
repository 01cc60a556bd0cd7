"""Stems: Keras's own checks, pooling as in PyTorch, and what is refused."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


def test_run_layer_test():
    run_layer_test(layers.ConvStem, {"filters": 8}, (2, 33, 38, 3), (2, 9, 10, 8), 8)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        pytest.param({}, (2, 9, 10, 8), id="resnet"),
        pytest.param(
            {"kernel_size": 3, "pool": False, "activation": "relu6"}, (2, 17, 19, 8), id="mobilenet"
        ),
    ],
)
def test_run_layer_test_plain(options, shape):
    run_layer_test(layers.PlainStem, {"filters": 8, **options}, (2, 33, 38, 3), shape, 3)


@pytest.mark.parametrize("side", [32, pytest.param(33, marks=slow_but_on_torch)])
def test_pooling_is_that_of_pytorch(side):
    """Each maximum is over the rows 2 i - 1 to 2 i + 1, at even and odd sides."""
    stem = layers.PlainStem(1)
    stem.build((1, side, side, 1))
    x = np.random.default_rng(0).standard_normal((1, side, side, 1)).astype("float32")
    found = ops.convert_to_numpy(stem(x))[0, :, :, 0]
    inside = np.pad(ops.convert_to_numpy(stem.conv(x))[0, :, :, 0], 1)
    for i, j in np.ndindex(*found.shape):
        assert found[i, j] == inside[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 5}, r"`kernel_size` must be one of \(3, 7\)"),
        ({"pool": 1}, "`pool` must be True or False"),
        ({"activation": "gelu"}, "`activation` must be one of"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        layers.PlainStem(8, **options)


@pytest.mark.parametrize(
    ("filters", "message"),
    [(7, "`filters` must be even. Received: filters=7"), (-2, "filters=-2"), ("a", "filters='a'")],
)
def test_bad_filters(filters, message):
    with pytest.raises(ValueError, match=message):
        layers.ConvStem(filters)
