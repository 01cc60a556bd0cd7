"""Scales, centres and LoRA's share become part of the projections beside them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers
from keras_paca.forms import twin_of
from keras_paca.inference.folding import affine_of, copy_weights, fold_projection
from tests.inference.compare import arrays, block_model, error, randomise
from tests.marks import slow_but_on_torch


def built(layer, channels=3):
    layer.build((None, 4, 4, channels))
    return randomise(layer)


def norms():
    return [
        keras.layers.BatchNormalization(epsilon=0.1),
        keras.layers.BatchNormalization(center=False, scale=False),
    ]


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("use_bias", [False, True])
def test_norms_around_a_projection(number, use_bias):
    """A batch norm is an affine map in inference, before a projection and after it."""
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    before, after = built(norms()[number]), built(norms()[number], 5)
    dense = built(keras.layers.Dense(5, use_bias=use_bias))
    target = built(keras.layers.Dense(5))
    fold_projection(target, dense, affine_of(before), affine_of(after))
    assert error(target(x), after(dense(before(x)))) <= 1e-5


def test_a_norm_after_a_convolution():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    convolution, target = (
        built(keras.layers.Conv2D(5, 3, padding="same", data_format="channels_last"))
        for _ in range(2)
    )
    norm = built(norms()[0], 5)
    fold_projection(target, convolution, after=affine_of(norm))
    assert error(target(x), norm(convolution(x))) <= 1e-5


def test_a_layer_norm_is_its_scale_and_centre():
    norm = built(keras.layers.LayerNormalization(center=False))
    scale, centre = affine_of(norm)
    np.testing.assert_array_equal(scale, arrays(norm.gamma)[0])
    assert centre == 0
    assert affine_of(None) == (1, 0)


def test_copied_weights():
    first, second = (layers.ConvMLP() for _ in range(2))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    copy_weights(built(second), built(first))
    np.testing.assert_array_equal(ops.convert_to_numpy(second(x)), ops.convert_to_numpy(first(x)))
    twin = twin_of(layers.ConvMLP)()
    twin.build((None, 4, 4, 3))
    copy_weights(twin, first)
    assert error(twin(x), first(x)) <= 1e-5
    with pytest.raises(ValueError, match="don't have the same layers"):
        copy_weights(built(layers.ConvMLP(dwconv=False)), first)


@slow_but_on_torch
def test_lora_becomes_part_of_the_kernels(images):
    model = randomise(block_model("plain", {}))
    attention = model.get_layer("block").attention
    for dense in (attention.query_dense, attention.value_dense):
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    fused, x = keras_paca.fuse(model), images(2, 5, 6, 8) / 100 - 1
    assert error(fused(x), model(x)) <= 1e-5
    assert not any("lora" in weight.path for weight in fused.weights)
