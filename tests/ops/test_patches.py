"""Between maps and patches."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import (
    count_patches,
    flatten_map,
    halve,
    project_patches,
    unflatten_patches,
)


def test_patches_go_row_by_row_and_back():
    image = ops.convert_to_tensor(np.arange(24, dtype="float32").reshape(1, 2, 3, 4))
    patches = flatten_map(image)
    assert patches.shape == (1, 6, 4)
    np.testing.assert_array_equal(ops.convert_to_numpy(patches)[0, 4], [16, 17, 18, 19])
    again = unflatten_patches(patches, like=image)
    np.testing.assert_array_equal(ops.convert_to_numpy(again), ops.convert_to_numpy(image))


def test_halve():
    assert [halve(n) for n in (1, 2, 3, 224, 225, None)] == [1, 1, 2, 112, 113, None]


class ThereAndBack(keras.layers.Layer):
    def call(self, maps):
        return unflatten_patches(2 * flatten_map(maps), like=maps)


def test_sides_that_are_unknown():
    maps = keras.Input((None, None, 4))
    assert count_patches(maps.shape) is None
    model = keras.Model(maps, ThereAndBack()(maps))
    x = np.arange(24, dtype="float32").reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(model.predict(x, verbose=0), 2 * x)


@pytest.mark.parametrize("size", [(8, 12), (9, 15)])
def test_projection_is_a_convolution(size):
    draw = np.random.default_rng(0)
    x, kernel, bias = (
        ops.convert_to_tensor(draw.standard_normal(shape).astype("float32"))
        for shape in ((2, *size, 3), (4, 4, 3, 5), (5,))
    )
    found = project_patches(x, kernel, bias)
    wanted = ops.conv(x, kernel, strides=4, padding="valid", data_format="channels_last") + bias
    assert tuple(found.shape) == (2, 2, 3, 5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(wanted), rtol=1e-4, atol=1e-4
    )
