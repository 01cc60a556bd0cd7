"""Cluster assignments: Keras's own checks, and that they are distributions over patches."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test


@pytest.mark.parametrize(
    ("cls", "options", "trainable"),
    [
        pytest.param(layers.ConvClustering, {"kernel_size": 3}, 5, id="conv"),
        pytest.param(layers.MLPClustering, {}, 4, id="mlp"),
        pytest.param(layers.LinearClustering, {}, 1, id="linear"),
    ],
)
def test_run_layer_test(cls, options, trainable):
    run_layer_test(cls, {"clusters": 6, **options}, (2, 7, 5, 4), (2, 35, 6), trainable)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"positive integer\. Received: clusters=0"):
        layers.ConvClustering(0)


@pytest.mark.parametrize(
    "cls", [layers.ConvClustering, layers.MLPClustering, layers.LinearClustering]
)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_assignment_is_a_distribution_over_patches(cls, policy, images):
    assignment = cls(9, dtype=policy)(images(2, 6, 11, 8) / 255)
    assert assignment.shape == (2, 66, 9)
    assert keras.backend.standardize_dtype(assignment.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(assignment, axis=1)), 1, rtol=1e-5)
