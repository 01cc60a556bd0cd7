"""The stem of RapidNet: Keras's own checks, and what is refused."""

import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(layers.ConvStem, {"filters": 8}, (2, 33, 38, 3), (2, 9, 10, 8), 8)


def test_odd_filters():
    with pytest.raises(ValueError, match=r"`filters` must be even. Received: filters=7"):
        layers.ConvStem(7)
