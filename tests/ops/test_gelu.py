"""The exact GELU, in each of its forms."""

import math

import numpy as np
import pytest
from keras import ops

from keras_paca.ops import gelu


@pytest.mark.parametrize("training", [False, True])
def test_gelu_is_exact(training):
    x = np.linspace(-12, 12, 1001).astype("float32")
    expected = [0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()]
    found = ops.convert_to_numpy(gelu(ops.convert_to_tensor(x), training))
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1.5e-6)
