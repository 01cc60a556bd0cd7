"""Drop path: Keras's own checks, and what is dropped."""

import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(layers.DropPath, {"rate": 0.3}, (2, 7, 5, 4), (2, 7, 5, 4), 0)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\). Received: rate=1.0"):
        layers.DropPath(1.0)


def test_drop_path_drops_whole_samples_and_rescales():
    x = np.ones((512, 3, 2, 4), "float32")
    layer = layers.DropPath(0.25, seed=1)
    first = ops.convert_to_numpy(layer(x, training=True))
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    per_sample = first.reshape(512, -1)
    assert (per_sample == per_sample[:, :1]).all()
    assert abs((per_sample[:, 0] == 0).mean() - 0.25) < 0.06
    second = ops.convert_to_numpy(layer(x, training=True))
    assert (first != second).any()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)
