"""Linear angular attention that is called as Keras's multi-head attention is."""

import keras
import numpy as np
import pytest

from keras_paca import layers
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

X = np.random.default_rng(0).normal(size=(2, 9, 8)).astype("float32")


@slow_but_on_torch
def test_run_layer_test():
    options = {"num_heads": 2, "key_dim": 4, "auxiliary": False}
    run_layer_test(layers.AngularSelfAttention, options, (2, 9, 8), (2, 9, 8), 6)


@pytest.mark.parametrize(
    "policy", [pytest.param("float32", marks=slow_but_on_torch), "mixed_float16"]
)
def test_called_as_keras_attention(policy):
    """On tensors that Keras converts first, in a graph, and on arrays."""
    x = keras.Input((9, 8))
    layer = layers.AngularSelfAttention(2, dtype=policy)
    model = keras.Model(x, layer(x, x, key=x, attention_mask=None, return_attention_scores=False))
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    wanted = keras.ops.convert_to_numpy(model(X))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(copy(X)), wanted)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(X, X)), wanted)
    layer(X, X, training=True)
    assert layer.mask_density is not None


@slow_but_on_torch
def test_what_it_can_not_do():
    layer, other = layers.AngularSelfAttention(2, name="attention"), X[:, :4]
    for arguments, message in (
        ((X, other), "must be the same tensor"),
        ((X, X, other), "'attention' is self-attention"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(*arguments)
    for option in ("attention_mask", "use_causal_mask", "return_attention_scores", "query_mask"):
        with pytest.raises(ValueError, match=f"masked nor returned. Received: {option}"):
            layer(X, X, **{option: True})
    masked = keras.layers.Embedding(5, 8, mask_zero=True)(np.ones((2, 9)))
    with pytest.raises(ValueError, match="the mask of the query"):
        layer(masked, masked)
    with pytest.raises(ValueError, match="must be the number of channels"):
        layers.AngularSelfAttention(2, key_dim=3)(X, X)
