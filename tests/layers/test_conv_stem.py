"""The stem of RapidNet: Keras's own checks, and what is refused."""

import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(layers.ConvStem, {"filters": 8}, (2, 33, 38, 3), (2, 9, 10, 8), 8)


@pytest.mark.parametrize(
    ("filters", "message"),
    [(7, "`filters` must be even. Received: filters=7"), (-2, "filters=-2"), ("a", "filters='a'")],
)
def test_bad_filters(filters, message):
    with pytest.raises(ValueError, match=message):
        layers.ConvStem(filters)
