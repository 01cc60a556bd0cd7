"""Feed-forward networks with a large kernel: Keras's own checks."""

import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


@pytest.mark.parametrize("options", [{}, {"expansion": 2, "kernel_size": 3}])
def test_run_layer_test(options):
    shape = (2, 7, 5, 4)
    run_layer_test(layers.LargeKernelFFN, options, shape, shape, 3 + 4 + 4)


@slow_but_on_torch
@pytest.mark.parametrize(("name", "value"), [("expansion", 1.5), ("kernel_size", 4)])
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
        layers.LargeKernelFFN(**{name: value})
