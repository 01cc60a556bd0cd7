"""Blocks whose maps need no mean over the channels, and how their norms are written into files."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.deploy.norms import norms_of_format
from keras_paca.inference.mean_free import mean_free_blocks
from tests.inference.compare import arrays, error, randomise
from tests.marks import slow_but_on_torch


def names(model):
    return {block.name: first for block, first in mean_free_blocks(model).items()}


@slow_but_on_torch
@pytest.mark.parametrize("options", [{}, {"position_embedding_size": 32, "layer_scale": 0.1}])
def test_maps_between_blocks(options, small, images):
    """A fused model computes the same maps; traced for a file, they have no mean."""
    model = randomise(small(depths=(2, 2, 2, 2), **options))
    x = images(2, 32, 32, 3)

    def maps(model):
        inner = [model.get_layer(name).output for name in ("stage1_block2", "stage4_block1")]
        outputs = [model.output, *(keras.tree.flatten(output)[0] for output in inner)]
        return keras.Model(model.input, outputs)

    wanted = maps(model).predict(x, verbose=0)
    fused = keras_paca.fuse(model)
    assert error(maps(fused).predict(x, verbose=0), wanted) <= 1e-5
    with norms_of_format(fused, "tf_saved_model", fused=True):
        outputs, *free = arrays(maps(fused)(x))
    assert error(outputs, wanted[0]) <= 1e-5
    assert error(free, [y - y.mean(axis=-1, keepdims=True) for y in wanted[1:]]) <= 1e-5
    for y in free:
        assert np.abs(y.mean(axis=-1)).max() <= 1e-5 * np.abs(y).max()
    assert error(fused(x), wanted[0]) <= 1e-5  # and as ever afterwards


@slow_but_on_torch
@pytest.mark.parametrize("format", ["tf_saved_model", "openvino", "litert", "onnx"])
def test_every_format_computes_the_same(format, small, images):
    model = randomise(small(depths=(2, 1, 1, 1), clustering="teacher"))
    x = images(2, 32, 32, 3)
    wanted = model.predict(x, verbose=0)
    fused = keras_paca.fuse(model)
    with norms_of_format(fused, format, fused=True):
        assert error(fused(x), wanted) <= 1e-5
    with norms_of_format(model, format, fused=False):
        assert error(model(x), wanted) <= 1e-6


@slow_but_on_torch
def test_the_first_block_of_a_stage_subtracts_the_mean(small):
    found = names(keras_paca.fuse(small(depths=(2, 1, 1, 2))))
    assert found == {
        "stage1_block1": True,
        "stage1_block2": False,
        "stage2_block1": True,
        "stage3_block1": True,
        "stage4_block1": True,
        "stage4_block2": False,
    }


@slow_but_on_torch
def test_blocks_whose_maps_others_read(small):
    """A map that is an output, or that another layer reads, keeps its mean, as those before it."""
    model = keras_paca.fuse(small(depths=(3, 1, 1, 1)))
    inner = keras.tree.flatten(model.get_layer("stage1_block2").output)[0]
    read = keras.Model(model.input, [model.output, inner])
    assert not {"stage1_block1", "stage1_block2"} & names(read).keys()
    assert "stage1_block3" in names(read)
    pooled = keras.layers.GlobalAveragePooling2D()(inner)
    assert "stage1_block1" not in names(keras.Model(model.input, [model.output, pooled]))
    assert names(model).keys() > names(read).keys()


@slow_but_on_torch
@pytest.mark.parametrize("options", [{"post_norm": True}, {"sub_norm": True}])
def test_norms_after_the_branches_add_a_mean(options, small):
    assert names(keras_paca.fuse(small(**options))) == {}


@slow_but_on_torch
def test_models_that_are_not_fused_keep_it(small):
    assert names(small()) == {}
