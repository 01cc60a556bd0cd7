"""The embedding of patches: the convolution that it is, resized positions, initial values."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.layers import PatchEmbedding
from keras_paca.ops import resize_bicubic
from tests.layers.run import run_layer_test


def test_run_layer_test():
    options = {"filters": 6, "patch_size": 4, "grid_size": (2, 3)}
    run_layer_test(PatchEmbedding, options, (2, 9, 15, 3), (2, 2, 3, 6), 3)


@pytest.mark.parametrize("size", [(8, 12), (9, 15), (17, 4)])
def test_it_is_a_convolution_plus_positions(size, images):
    layer = PatchEmbedding(5, 4, (2, 3))
    x = images(2, *size, 3) / 255
    found = ops.convert_to_numpy(layer(x))
    grid = (size[0] // 4, size[1] // 4)
    assert found.shape == layer.compute_output_shape((2, *size, 3)) == (2, *grid, 5)
    conv = ops.conv(x, layer.kernel, strides=4, padding="valid", data_format="channels_last")
    positions = resize_bicubic(ops.expand_dims(layer.position_embedding, 0), grid)
    wanted = ops.convert_to_numpy(conv + layer.bias + positions)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    if grid == (2, 3):
        stored = ops.convert_to_numpy(positions)[0]
        np.testing.assert_allclose(stored, ops.convert_to_numpy(layer.position_embedding))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_policies(policy, images):
    layer = PatchEmbedding(5, 4, (2, 3), dtype=policy)
    outputs = layer(images(1, 16, 8, 3))
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert np.isfinite(ops.convert_to_numpy(outputs)).all()


def test_initial_values():
    """Those of PyTorch's convolutions, or Glorot's with a bias of 0."""
    layer, glorot = (
        PatchEmbedding(64, 8, (9, 9), initial=initial) for initial in ("fan_in", "glorot")
    )
    for each in (layer, glorot):
        each.build((None, None, None, 3))
        positions = ops.convert_to_numpy(each.position_embedding)
        assert abs(positions.std() - 0.02) < 1e-3
    kernel, bias = map(ops.convert_to_numpy, (layer.kernel, layer.bias))
    limit = (8 * 8 * 3) ** -0.5
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert 0.8 * limit < np.abs(bias).max() <= limit
    kernel, limit = ops.convert_to_numpy(glorot.kernel), (6 / (8 * 8 * (3 + 64))) ** 0.5
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert not ops.convert_to_numpy(glorot.bias).any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="hold a whole patch of 16 x 16"):
        PatchEmbedding(4, 16, (2, 2)).build((None, 12, 32, 3))
    with pytest.raises(ValueError, match="`grid_size` must be"):
        PatchEmbedding(4, 16, (2, 2, 2))
    with pytest.raises(ValueError, match="`initial` must be"):
        PatchEmbedding(4, 16, (2, 2), initial="normal")
