"""Attention, in the form of each backend."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.ops import attend
from keras_paca.ops.attention import attention_scores


def softmax(scores):
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def draw(dtype="float32"):
    """Return queries of seven patches, and the keys and values of three clusters."""
    draws = np.random.default_rng(0)
    return [draws.standard_normal((2, 2, count, 4)).astype(dtype) for count in (7, 3, 3)]


@pytest.mark.parametrize("recompute_weights", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_attend(dtype, tolerance, recompute_weights):
    query, key, value = given = draw(dtype)
    found = attend(*map(ops.convert_to_tensor, given), recompute_weights=recompute_weights)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    query, key, value = (x.astype("float64") for x in given)
    expected = softmax(query @ key.swapaxes(-1, -2) / 2) @ value
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), expected, rtol=10 * tolerance, atol=tolerance
    )


@pytest.mark.parametrize("recompute_weights", [False, True])
def test_dropout_of_weights(recompute_weights):
    """A weight is dropped, or divided by the share of those that are kept."""
    query, key, _ = draw()
    value = np.broadcast_to(np.eye(3, 4, dtype="float32"), (2, 2, 3, 4))  # shows the weights
    weights = softmax(query @ key.swapaxes(-1, -2) / 2)
    dropout = keras.layers.Dropout(0.5, seed=0)
    given = [ops.convert_to_tensor(x) for x in (query, key, value)]
    found = ops.convert_to_numpy(attend(*given, dropout, recompute_weights))[..., :3]
    dropped = found == 0
    assert 0.2 < dropped.mean() < 0.8
    np.testing.assert_allclose(found[~dropped], 2 * weights[~dropped], rtol=1e-5)


def test_scores_beyond_float16():
    """Their products and sums are float32."""
    query, key = (ops.full((3, 4), size, "float16") for size in (300.0, 200.0))
    found = attention_scores(query, key)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(found), 4 * 300 * 200)
