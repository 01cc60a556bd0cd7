"""Bilinear resizing and adaptive pooling, each against a plain loop."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import average_pool_to, resize_bicubic, resize_bilinear, resize_like


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


SIZES = [
    ((4, 4), (3, 5)),
    ((14, 14), (18, 9)),
    ((2, 3), (1, 1)),
    ((8, 7), (8, 7)),
    ((1, 5), (3, 40)),
]


def bicubic(image, size):
    """Return the float64 reference: each output pixel is a mean of the pixels around it."""
    for axis, new in enumerate(size):
        old = image.shape[axis]
        scale, lines = max(old / new, 1.0), []
        for i in range(new):
            centre, total, line = (i + 0.5) * old / new, 0.0, 0.0
            for j in range(old):
                x = abs(j + 0.5 - centre) / scale
                weight = 0.0
                if x < 1:
                    weight = 1.5 * x**3 - 2.5 * x**2 + 1
                elif x < 2:
                    weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
                total += weight
                line = line + weight * np.take(image, j, axis)
            lines.append(line / total)
        image = np.stack(lines, axis)
    return image


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resize_bicubic(old, new):
    image = np.random.default_rng(0).standard_normal((2, *old, 3))
    found = resize_bicubic(ops.convert_to_tensor(image, "float32"), new)
    wanted = np.stack([bicubic(each, new) for each in image])
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, atol=1e-5)
    if old == new:
        np.testing.assert_allclose(wanted, image, atol=1e-12)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="compares with PyTorch's own")
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resize_bicubic_agrees_with_pytorch(old, new):
    from torch.nn import functional

    image = np.random.default_rng(0).standard_normal((2, *old, 3)).astype("float32")
    tensor = ops.transpose(ops.convert_to_tensor(image), (0, 3, 1, 2))
    wanted = functional.interpolate(tensor, size=new, mode="bicubic", antialias=True)
    found = ops.transpose(resize_bicubic(ops.convert_to_tensor(image), new), (0, 3, 1, 2))
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(wanted), atol=1e-5)


@pytest.mark.parametrize("size", [(7, 5), (4, 4), (2, 9)])
@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_average_pool_is_the_mean_of_each_bin(size, side, images):
    x = images(2, *size, 3)
    found = ops.convert_to_numpy(average_pool_to(x, side))
    assert found.shape == (2, side, side, 3)
    for i in range(side):
        for j in range(side):
            (top, bottom), (left, right) = (
                (k * n // side, -(-(k + 1) * n // side)) for k, n in ((i, size[0]), (j, size[1]))
            )
            expected = x[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(9, 7), (3, 2), (5, 11)])
def test_resize_is_the_same_known_or_not(size, images):
    x = images(2, 5, 4, 3)
    found = ops.convert_to_numpy(resize_like(x, np.zeros((2, *size, 1), "float32")))
    expected = ops.convert_to_numpy(resize_bilinear(x, size))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
