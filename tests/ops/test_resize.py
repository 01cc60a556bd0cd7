"""Maps, patches and the bilinear resize."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import flatten_map, halve, resize_bilinear, stable_softmax, unflatten_patches


def interpolate(image, size, align_corners):
    """Return the float64 reference: each output pixel looked up by itself."""
    height, width = image.shape[:2]

    def positions(old, new):
        if align_corners:
            return np.arange(new) * ((old - 1) / max(new - 1, 1))
        return np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)

    result = np.zeros((*size, image.shape[2]))
    for i, y in enumerate(positions(height, size[0])):
        for j, x in enumerate(positions(width, size[1])):
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            result[i, j] = upper * (1 - y + top) + lower * (y - top)
    return result


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    "sizes", [((4, 5), (7, 10)), ((7, 3), (4, 3)), ((1, 2), (3, 1)), ((6, 6), (6, 6))]
)
def test_resize_bilinear(sizes, align_corners):
    old, new = sizes
    image = np.random.default_rng(0).standard_normal((1, *old, 3))
    found = ops.convert_to_numpy(
        resize_bilinear(ops.convert_to_tensor(image, "float32"), new, align_corners)
    )
    np.testing.assert_allclose(found[0], interpolate(image[0], new, align_corners), atol=1e-5)


def test_resize_agrees_with_keras():
    image = np.random.default_rng(0).standard_normal((2, 5, 7, 3)).astype("float32")
    expected = ops.image.resize(image, (9, 12), "bilinear", data_format="channels_last")
    found = resize_bilinear(ops.convert_to_tensor(image), (9, 12))
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), ops.convert_to_numpy(expected), atol=1e-5
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


@pytest.mark.parametrize("size", [1, 7])
def test_stable_softmax(size):
    logits = np.random.default_rng(0).standard_normal((2, size, 3)).astype("float16")
    found = stable_softmax(ops.convert_to_tensor(logits), axis=1)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    exponentials = np.exp(logits.astype("float64"))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)
