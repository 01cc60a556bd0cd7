"""The linear projection, in the form of each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axes", [(5,), (2, 3, 5), (2, 3, 4, 5)])
def test_linear(axes, bias):
    draw = np.random.default_rng(0)
    x, kernel, shift = (
        draw.standard_normal(shape).astype("float32") for shape in ((2, *axes), (5, 3), (3,))
    )
    found = linear(
        ops.convert_to_tensor(x),
        ops.convert_to_tensor(kernel),
        keras.Variable(shift) if bias else None,
    )
    assert found.shape == (2, *axes[:-1], 3)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), x @ kernel + bias * shift, rtol=1e-5, atol=1e-6
    )
