"""Blocks: Keras's own checks, and what passes from one to the next."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


def test_run_layer_test():
    options = {"num_heads": 2, "drop_path_rate": 0.2, "layer_scale": 0.1}
    run_layer_test(layers.PaCaBlock, options, (2, 7, 5, 4), (2, 7, 5, 4), 8 + 6 + 4 + 2)


def test_run_layer_test_block_with_clustering():
    run_layer_test(
        layers.PaCaBlock,
        {
            "num_heads": 2,
            "clustering": layers.ConvClustering(6, 3),
            "position_embedding_size": (4, 4),
            "sub_norm": True,
        },
        (2, 7, 5, 4),
        ((2, 7, 5, 4), (2, 35, 6)),
        1 + 5 + 10 + 6 + 8,
        run_training_check=False,  # Keras's adds up one output; trained in test_base.py
        run_mixed_precision_check=False,  # the clustering has its own policy; checked below
    )


@slow_but_on_torch
def test_run_layer_test_of_castling():
    options = {"num_heads": 2, "castling": {"convolution": "grid", "auxiliary": False}}
    run_layer_test(layers.PaCaBlock, options, (2, 7, 5, 4), (2, 7, 5, 4), 4 + 1 + 8 + 6)


@slow_but_on_torch
@pytest.mark.parametrize("remat", [False, True])
def test_castling_of_tokens(remat, images):
    """On the grid of another map, beside a class token; and its options as they are now."""
    given = {"convolution": "grid", "kernel_size": 3, "prefix_tokens": 1, "threshold": 0.1}
    block = layers.PaCaBlock(2, castling=given, dwconv_in_mlp=False, remat=remat)
    x, like = images(2, 16, 8), images(2, 3, 5, 1)
    outputs = block(x, like=like, training=True)
    assert tuple(outputs.shape) == block.compute_output_shape((2, 16, 8)) == (2, 16, 8)
    attention = block.attention
    attention.auxiliary, attention.threshold = False, 0.5
    again = layers.PaCaBlock.from_config(block.get_config())
    assert again.castling == {**given, "auxiliary": False, "threshold": 0.5}
    assert layers.PaCaBlock(2).castling is None


def test_what_excludes_castling(images):
    for options in ({"clustering": layers.LinearClustering(3)}, {"qk_norm": True}):
        with pytest.raises(ValueError, match="`castling` excludes"):
            layers.PaCaBlock(2, castling={}, **options)
    with pytest.raises(ValueError, match="has no assignment"):
        layers.PaCaBlock(2, castling={})(images(1, 4, 5, 8), images(1, 20, 3))


def test_block_returns_map_or_pair(images):
    x = images(1, 4, 5, 8) / 255
    plain = layers.PaCaBlock(2)(x)
    assert plain.shape == (1, 4, 5, 8)
    made, assignment = layers.PaCaBlock(2, layers.LinearClustering(3))(x)
    assert made.shape == (1, 4, 5, 8)
    assert assignment.shape == (1, 20, 3)
    _, passed = layers.PaCaBlock(2)(x, assignment)
    np.testing.assert_array_equal(ops.convert_to_numpy(passed), ops.convert_to_numpy(assignment))
    _, own = layers.PaCaBlock(2, layers.LinearClustering(4))(x, assignment)
    assert own.shape == (1, 20, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_assignment_keeps_float32_between_blocks(policy):
    x = keras.Input((None, None, 8))
    x, assignment = layers.PaCaBlock(2, layers.LinearClustering(3), dtype=policy)(x)
    assert assignment.dtype == "float32"
    x, assignment = layers.PaCaBlock(2, dtype=policy)(x, assignment)
    assert assignment.dtype == "float32"
    assert x.dtype == policy.removeprefix("mixed_")
