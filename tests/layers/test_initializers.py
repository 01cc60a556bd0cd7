"""Initial values: of a seed, and of each kind of weight."""

import keras
import numpy as np
from keras import ops

from keras_paca import PaCaViT, layers
from keras_paca.layers.initializers import HostNormal


def test_initial_values_are_those_of_the_seed():
    """On each backend the same, in a saved initializer too."""
    initializer = HostNormal(mean=1.0, stddev=None, seed=7)
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    expected = 1 + np.random.default_rng(7).standard_normal((3, 3, 2, 4), "float32") / np.sqrt(18)
    for draw in (initializer, again, again):
        found = draw((3, 3, 2, 4), "float32")
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-6)
    assert keras.backend.standardize_dtype(initializer((2, 2), "bfloat16").dtype) == "bfloat16"
    keras.utils.set_random_seed(1)
    first, second = (ops.convert_to_numpy(HostNormal(stddev=1.0)((4,))) for _ in range(2))
    assert (first != second).all()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(ops.convert_to_numpy(HostNormal(stddev=1.0)((4,))), first)


def test_initial_values():
    """Deviation and mean per kind of weight, which parity can't see."""
    block = layers.PaCaBlock(
        4,
        layers.ConvClustering(64),
        layer_scale=0.1,
        position_embedding_size=(16, 16),
        cluster_position_embedding=True,
    )
    block.build((None, 16, 16, 96))
    stem = layers.OverlappingStem(96)
    stem.build((None, 32, 32, 3))
    hidden = layers.MLPClustering(64)
    hidden.build((None, 4, 4, 96))
    linear = layers.LinearClustering(64)
    linear.build((None, 4, 4, 96))
    teacher = layers.ConvMixerTeacher((96, 128), (1, 1), (64, 64))
    teacher.build((None, 16, 16, 96))
    classifier = PaCaViT((8, 8, 8, 96), (1, 1, 1, 1), (1, 1, 1, 1), classes=64)
    expected = [  # (weight, mean, deviation)
        (block.attention.query_dense.kernel, 0, 0.02),
        (block.attention.output_dense.kernel, 0, 0.02),
        (block.mlp.expand_dense.kernel, 0, 0.02),
        (block.mlp.project_dense.kernel, 0, 0.02),
        (hidden.hidden_dense.kernel, 0, 0.02),
        (hidden.projection.kernel, 0, 0.02),
        (linear.projection.kernel, 0, 0.02),
        (block.position_embedding, 0, 0.02),
        (block.attention.cluster_embedding, 0, 0.02),
        (block.mlp.depthwise.kernel, 0, np.sqrt(2 / 9)),
        (block.clustering.depthwise.kernel, 0, np.sqrt(2 / 49)),
        (block.clustering.pointwise.kernel, 0, np.sqrt(2 / 96)),
        (block.clustering.projection.kernel, 0, np.sqrt(2 / 64)),
        (stem.conv1.kernel, 0, np.sqrt(2 / (9 * 48))),
        (stem.conv2.kernel, 0, np.sqrt(2 / (9 * 96))),
        (teacher.units[0].depthwise.kernel, 0, np.sqrt(2 / 49)),
        (teacher.units[0].pointwise.kernel, 0, np.sqrt(2 / 96)),
        (teacher.transitions[0].conv.kernel, 0, np.sqrt(2 / (9 * 128))),
        (teacher.laterals[0].pointwise.kernel, 0, np.sqrt(2 / 96)),
        (teacher.projections[0].kernel, 0, np.sqrt(2 / 64)),
        (teacher.units[0].norm1.gamma, 1, 0),
        (classifier.get_layer("predictions").kernel, 0, 0.02),
        (classifier.get_layer("predictions").bias, 0, 0),
        (block.norm1_before.gamma, 1, 0),
        (block.norm1_before.beta, 0, 0),
        (block.attention.query_dense.bias, 0, 0),
        (block.mlp.depthwise.bias, 0, 0),
        (stem.conv1.bias, 0, 0),
        (block.scale1, 0.1, 0),
    ]
    for weight, mean, deviation in expected:
        values = ops.convert_to_numpy(weight)
        spread = max(4 / np.sqrt(values.size), 1e-6)
        assert abs(values.mean() - mean) <= deviation * spread + 1e-7, weight.path
        assert abs(values.std() - deviation) <= deviation * spread + 1e-7, weight.path
        if deviation:  # not truncated: the farthest lies where a normal's would
            farthest = np.abs(values).max() / deviation
            assert farthest > np.sqrt(2 * np.log(values.size)) * 0.75, weight.path


def test_two_equal_layers_start_differently():
    first, second = layers.LinearClustering(8), layers.LinearClustering(8)
    first.build((None, 4, 4, 8))
    second.build((None, 4, 4, 8))
    assert (
        ops.convert_to_numpy(first.projection.kernel)
        != ops.convert_to_numpy(second.projection.kernel)
    ).any()
