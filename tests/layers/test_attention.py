"""Patch-to-cluster attention: Keras's own checks, and what it promises beyond them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


def test_run_layer_test():
    options = {"num_heads": 2, "attention_dropout": 0.1, "dropout": 0.1}
    run_layer_test(layers.PatchToClusterAttention, options, (2, 7, 5, 4), (2, 7, 5, 4), 8)


def test_run_layer_test_attention_with_assignment():
    run_layer_test(
        layers.PatchToClusterAttention,
        {"num_heads": 2, "cluster_position_embedding": True},
        {"inputs_shape": (2, 7, 5, 4), "assignment_shape": (2, 35, 6)},
        (2, 7, 5, 4),
        8 + 2 + 1,
        run_training_check=False,  # Keras's passes one positional input
    )


def test_clusters_are_weighted_means_of_patches(images):
    """Attention to one cluster returns that cluster's value, whatever the query."""
    layer = layers.PatchToClusterAttention(1, cluster_norm=False)
    x = images(1, 3, 4, 5) / 255
    assignment = np.zeros((1, 12, 1), "float32")
    assignment[0, [2, 7], 0] = 0.25, 0.75
    y = ops.convert_to_numpy(layer(x, assignment))
    mean = 0.25 * x[0, 0, 2] + 0.75 * x[0, 1, 3]
    value = mean @ ops.convert_to_numpy(layer.value_dense.kernel)
    expected = value @ ops.convert_to_numpy(layer.output_dense.kernel)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-4, atol=1e-6)


def test_plain_attention_matches_keras(images):
    x = images(2, 3, 4, 8) / 255
    ours = layers.PatchToClusterAttention(2)
    y = ops.convert_to_numpy(ours(x))
    theirs = keras.layers.MultiHeadAttention(2, 4)
    tokens = x.reshape(2, 12, 8)
    theirs(tokens, tokens)
    kernels = [
        ops.convert_to_numpy(dense.kernel)
        for dense in (ours.query_dense, ours.key_dense, ours.value_dense, ours.output_dense)
    ]
    # query, key, value: kernel (8, 2, 4), bias (2, 4); output: kernel (2, 4, 8), bias (8,)
    shapes = [(8, 2, 4)] * 3 + [(2, 4, 8)]
    theirs.set_weights(
        [
            array
            for kernel, shape in zip(kernels, shapes, strict=True)
            for array in (kernel.reshape(shape), np.zeros(shape[1:] if shape[0] == 8 else 8))
        ]
    )
    expected = ops.convert_to_numpy(theirs(tokens, tokens)).reshape(y.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_aggregation_does_not_lose_small_entries_in_float16():
    """A quarter of a million patches: the entries lie below float16's normal range."""
    layer = layers.PatchToClusterAttention(1, cluster_norm=False, dtype="mixed_float16")
    x = np.ones((1, 512, 512, 2), "float32")
    assignment = np.full((1, 512 * 512, 1), 1 / (512 * 512), "float32")
    layer.build(x.shape, assignment.shape)
    for dense in (layer.value_dense, layer.output_dense):
        dense.kernel.assign(np.eye(2))
    y = ops.convert_to_numpy(layer(x, assignment)).astype("float32")
    np.testing.assert_allclose(y, 1, atol=1e-3)


def test_built_with_and_called_without_assignment():
    layer = layers.PatchToClusterAttention(1)
    x = np.ones((1, 2, 2, 4), "float32")
    layer(x, np.full((1, 4, 3), 0.25, "float32"))
    with pytest.raises(ValueError, match="built with an assignment"):
        layer(x)


def test_assignment_of_another_map():
    with pytest.raises(ValueError, match="one row per patch"):
        layers.PatchToClusterAttention(1)(np.ones((1, 2, 2, 4)), np.ones((1, 5, 3)))


def test_bad_arguments():
    with pytest.raises(ValueError, match="must divide"):
        layers.PatchToClusterAttention(3)(np.ones((1, 2, 2, 4)))


@pytest.mark.parametrize("rate", ["dropout", "attention_dropout"])
def test_dropout(rate, images):
    """The share of zeros is the rate, where there is one patch to attend to."""
    layer, x = layers.PatchToClusterAttention(1, **{rate: 0.4}), images(600, 1, 1, 4) / 255
    assert (ops.convert_to_numpy(layer(x)) != 0).all()
    zeros = (ops.convert_to_numpy(layer(x, training=True)) == 0).mean()
    assert abs(zeros - 0.4) < 0.08


@slow_but_on_torch
@pytest.mark.parametrize("clustered", [False, True])
def test_norms_of_queries_and_keys_without_biases(clustered):
    """As timm's `Attention` with `qk_norm=True` and `qkv_bias=False`, in float64."""
    layer = layers.PatchToClusterAttention(2, qkv_bias=False, qk_norm=True, cluster_norm=False)
    draw = np.random.default_rng(0)
    x, assignment = draw.normal(size=(2, 3, 4, 8)), draw.uniform(size=(2, 12, 5))
    layer.build(x.shape, assignment.shape if clustered else None)
    randomise(layer)
    paths = [weight.path.partition("/")[2] for weight in layer.weights]
    assert not {"query/bias", "key/bias", "value/bias"} & set(paths)
    weights = {
        path: ops.convert_to_numpy(w).astype("float64")
        for path, w in zip(paths, layer.weights, strict=True)
    }
    given = (x.astype("float32"), assignment.astype("float32"))[: 2 if clustered else 1]
    found = layer(*given)
    x = x.reshape(2, 12, 8)
    source = assignment.swapaxes(1, 2) @ x if clustered else x

    def heads(name, x):
        split = (x @ weights[f"{name}/kernel"]).reshape(2, -1, 2, 4).swapaxes(1, 2)
        if name == "value":
            return split
        split = split - split.mean(-1, keepdims=True)
        split = split / np.sqrt((split**2).mean(-1, keepdims=True) + 1e-6)
        return split * weights[f"{name}_norm/gamma"] + weights[f"{name}_norm/beta"]

    scores = heads("query", x) @ heads("key", source).swapaxes(2, 3) / 2
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    wanted = (scores @ heads("value", source)).swapaxes(1, 2).reshape(2, 12, 8)
    wanted = wanted @ weights["attention_output/kernel"] + weights["attention_output/bias"]
    found = ops.convert_to_numpy(found).reshape(2, 12, 8)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
