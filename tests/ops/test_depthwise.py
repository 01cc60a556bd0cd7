"""The depthwise convolution, in the form of each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import depthwise_conv2d


def convolve(x, kernel):
    """Return the float64 reference: a weighted sum of shifted maps."""
    (rows, columns), (height, width) = kernel.shape[:2], x.shape[1:3]
    margins = [(side // 2, side // 2) for side in (rows, columns)]
    padded = np.pad(x.astype("float64"), ((0, 0), *margins, (0, 0)))
    return sum(
        kernel[i, j, :, 0] * padded[:, i : i + height, j : j + width]
        for i in range(rows)
        for j in range(columns)
    )


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("size", "height", "width"), [(3, 5, 8), (7, 6, 3), (1, 4, 4)])
def test_depthwise_conv2d(size, height, width, bias, shortcut):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, height, width, 4)).astype("float32")
    kernel = draw.standard_normal((size, size, 4, 1)).astype("float32")
    shift = draw.standard_normal(4).astype("float32")
    given = [ops.convert_to_tensor(array) for array in (x, kernel, shift)]
    found = depthwise_conv2d(*given[:2], given[2] if bias else None, shortcut)
    expected = convolve(x, kernel) + bias * shift + shortcut * x
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(9, 1), (1, 5), (3, 5)])
def test_a_kernel_that_is_no_square(size):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, 7, 4, 3)).astype("float32")
    kernel = draw.standard_normal((*size, 3, 1)).astype("float32")
    found = depthwise_conv2d(ops.convert_to_tensor(x), ops.convert_to_tensor(kernel))
    np.testing.assert_allclose(ops.convert_to_numpy(found), convolve(x, kernel), atol=1e-4)


@pytest.mark.parametrize(("size", "height", "width"), [(3, 5, 8), (7, 6, 3)])
def test_stride(size, height, width):
    """Every second row and column, from the first, at even and odd sides."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, height, width, 4)).astype("float32")
    kernel = draw.standard_normal((size, size, 4, 1)).astype("float32")
    shift = draw.standard_normal(4).astype("float32")
    given = [ops.convert_to_tensor(array) for array in (x, kernel, shift)]
    found = ops.convert_to_numpy(depthwise_conv2d(*given, strides=2))
    expected = convolve(x, kernel)[:, ::2, ::2] + shift
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="a gradient of its own under JAX")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("size", "height", "width"), [((3, 3), 5, 8), ((7, 7), 6, 3), ((1, 1), 4, 4), ((9, 1), 7, 2)]
)
def test_gradient_of_the_depthwise_convolution(size, height, width, dtype):
    import jax

    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel.transpose(0, 1, 3, 2), (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=kernel.shape[2],
        )  # fmt: skip

    def gradients(function, x, kernel, weight):
        return jax.grad(lambda *a: (function(*a).astype(float) * weight).sum(), (0, 1))(x, kernel)

    draw = np.random.default_rng(0)
    x, weight = draw.normal(size=(2, 3, height, width, 4)).astype("float32")
    kernel = jax.numpy.array(draw.normal(size=(*size, 4, 1)), dtype)
    x = jax.numpy.array(x, dtype)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    expected = jax.jit(lambda *a: gradients(reference, *a))(x, kernel, weight)
    found = jax.jit(lambda *a: gradients(depthwise_conv2d, *a))(x, kernel, weight)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        error = np.linalg.norm((mine - theirs).astype(float)) / np.linalg.norm(theirs.astype(float))
        assert error < tolerance
    one_by_one = jax.vmap(lambda x, w: gradients(depthwise_conv2d, x[None], kernel, w[None])[1])
    summed = one_by_one(x, weight).astype(float).sum(0)  # and under vmap
    np.testing.assert_allclose(summed, found[1].astype(float), rtol=10 * tolerance, atol=0.1)
