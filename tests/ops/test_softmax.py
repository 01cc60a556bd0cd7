"""The softmax, and its precision."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import stable_softmax


@pytest.mark.parametrize("size", [1, 7])
def test_stable_softmax(size):
    logits = np.random.default_rng(0).standard_normal((2, size, 3)).astype("float16")
    found = stable_softmax(ops.convert_to_tensor(logits), axis=1)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    exponentials = np.exp(logits.astype("float64"))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_logits_beyond_float16():
    """Whose differences float16 can't hold."""
    logits = ops.convert_to_tensor(np.array([[6e4, 6e4, -6e4]]), "float16")
    found = ops.convert_to_numpy(stable_softmax(logits, axis=-1))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0]])
