"""Dense layers with attentive normalization and transitions: Keras's own checks, what is kept."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


@slow_but_on_torch
def test_run_layer_test():
    options = {"growth_rate": 3, "mixtures": 4}
    run_layer_test(layers.AttentiveDenseLayer, options, (2, 7, 5, 4), (2, 7, 5, 7), 2 + 1 + 5 + 1)


@slow_but_on_torch
def test_run_layer_test_transition():
    run_layer_test(layers.DenseTransition, {"filters": 3}, (2, 7, 6, 4), (2, 3, 3, 3), 3)


@slow_but_on_torch
def test_the_inputs_come_first(images):
    x = images(2, 7, 5, 4)
    found = ops.convert_to_numpy(layers.AttentiveDenseLayer(3, mixtures=4)(x))
    np.testing.assert_array_equal(found[..., :4], x)
    assert found[..., 4:].any()


@slow_but_on_torch
def test_a_transition_leaves_the_last_row_out(images):
    transition, x = layers.DenseTransition(3), images(1, 7, 5, 4) / 255
    found = ops.convert_to_numpy(transition(x))
    np.testing.assert_allclose(ops.convert_to_numpy(transition(x[:, :6, :4])), found, atol=1e-6)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("name", "value"), [("growth_rate", 0), ("mixtures", 1.5), ("expansion", 0), ("remat", "no")]
)
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
        layers.AttentiveDenseLayer(**{"growth_rate": 3, "mixtures": 4, name: value})


@slow_but_on_torch
def test_bad_filters():
    with pytest.raises(ValueError, match="Received: filters=0"):
        layers.DenseTransition(0)
