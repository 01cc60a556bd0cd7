"""Batch normalization: Keras's own checks, and PyTorch's statistics."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test


def test_run_layer_test():
    run_layer_test(
        layers.BatchNormalization,
        {"momentum": 0.8},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        2,
        expected_num_non_trainable_weights=2,
        custom_objects={"BatchNormalization": layers.BatchNormalization},
    )


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (4, 6)])
def test_statistics(shape):
    """What `torch.nn.BatchNorm2d` computes: biased to normalize, unbiased to keep."""
    x = np.random.default_rng(0).normal(2.0, 3.0, shape).astype("float32")
    norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    outputs = ops.convert_to_numpy(norm(x, training=True))
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    np.testing.assert_allclose(outputs, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    _, _, moving_mean, moving_variance = norm.get_weights()
    np.testing.assert_allclose(moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(moving_variance, 0.9 + 0.1 * x.var(axes, ddof=1), rtol=1e-5)


def test_one_value_per_channel():
    """A batch of one map of one patch has no unbiased variance; it counts as 0."""
    norm = layers.BatchNormalization(momentum=0.5)
    norm(np.ones((1, 1, 1, 3), "float32"), training=True)
    assert norm.get_weights()[3].tolist() == [0.5, 0.5, 0.5]


def test_frozen_and_in_inference():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    norm = layers.BatchNormalization()
    norm(x)
    norm.trainable = False
    outputs = ops.convert_to_numpy(norm(x, training=True))
    np.testing.assert_allclose(outputs, x / np.sqrt(1 + 1e-5), rtol=1e-6)
    assert norm.get_weights()[3].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_statistics_are_float32(policy):
    x = np.full((2, 4, 4, 2), 300.0) + np.arange(64).reshape(2, 4, 4, 2)
    norm = layers.BatchNormalization(momentum=0.0, dtype=policy)
    outputs = norm(
        ops.cast(x, "float16" if policy == "mixed_float16" else "bfloat16"), training=True
    )
    assert np.isfinite(ops.convert_to_numpy(ops.cast(outputs, "float32"))).all()
    assert norm.moving_variance.dtype == "float32"
    np.testing.assert_allclose(norm.get_weights()[3], x.var((0, 1, 2), ddof=1), rtol=2e-2)


def test_what_it_does_not_have():
    with pytest.raises(ValueError, match="no `renorm`"):
        layers.BatchNormalization(renorm=True)
    norm = layers.BatchNormalization()
    with pytest.raises(ValueError, match="no mask in training"):
        norm(np.ones((2, 3), "float32"), training=True, mask=np.ones(2, bool))


def test_unknown_sizes():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.BatchNormalization()(inputs))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype("float32")
    model.fit(x, x, verbose=0)
    wanted = 0.9 + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(model.get_weights()[3], wanted, rtol=1e-5)


REPLICAS = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_paca import layers

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    norm = layers.BatchNormalization(momentum=0.0, synchronized=True)
    norm.build((None, 2))
x = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")


@tf.function
def step():
    def replica():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return norm(tf.cond(first, lambda: x[:4], lambda: x[4:]), training=True)

    strategy.run(replica)


step()
np.testing.assert_allclose(norm.get_weights()[2], x.mean(0), rtol=1e-5)
np.testing.assert_allclose(norm.get_weights()[3], x.var(0, ddof=1), rtol=1e-5)
"""


@pytest.mark.slow  # another process imports TensorFlow: 6 s
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others have no replicas")
def test_synchronized():
    """Two replicas with 4 and 2 values per channel have the statistics of a batch of 6 values."""
    answer = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
