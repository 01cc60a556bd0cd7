"""The stem and the transitions: Keras's own checks, and what is refused."""

import numpy as np
import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test


@pytest.mark.parametrize(
    ("cls", "shape", "expected", "trainable"),
    [
        pytest.param(layers.OverlappingStem, (2, 33, 35, 3), (2, 9, 9, 8), 6, id="stem"),
        pytest.param(layers.OverlappingTransition, (2, 9, 7, 4), (2, 5, 4, 8), 4, id="transition"),
    ],
)
def test_run_layer_test(cls, shape, expected, trainable):
    run_layer_test(cls, {"filters": 8}, shape, expected, trainable)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.OverlappingStem(7), "must be even. Received: filters=7"),
        (
            lambda: layers.OverlappingStem(8, mean=(1, 2)).build((None, 32, 32, 3)),
            r"`mean` must have one number per channel. Received: mean=\[1.0, 2.0\]",
        ),
        (
            lambda: layers.OverlappingStem(8, deviation=np.zeros(3)),
            "`deviation` must not hold 0",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
