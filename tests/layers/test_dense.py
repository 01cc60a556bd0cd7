"""Our dense layer: Keras's own checks, and its quantization."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.layers.dense import Dense
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


@pytest.mark.parametrize(
    ("options", "trainable"), [({}, 2), ({"use_bias": False, "activation": "relu"}, 1)]
)
def test_run_layer_test(options, trainable):
    run_layer_test(Dense, {"units": 6, **options}, (2, 7, 5, 4), (2, 7, 5, 6), trainable)


def test_it_computes_what_that_of_keras_does(images):
    x = images(2, 3, 5) / 255
    ours, theirs = (
        cls(4, activation="gelu", bias_initializer="ones") for cls in (Dense, keras.layers.Dense)
    )
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones((2, 4)))
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours(x)), ops.convert_to_numpy(theirs(x)), rtol=1e-5, atol=1e-6
    )


pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")


def test_the_quantized_call_is_used(images, monkeypatch):
    x = ops.convert_to_tensor(images(3, 8) / 255)
    layer = Dense(6)
    exact = ops.convert_to_numpy(layer(x))
    layer.quantize("int8")
    monkeypatch.setattr(layer, "call", None)
    kernel = ops.convert_to_numpy(layer.kernel)
    scale = ops.convert_to_numpy(layer.kernel_scale)
    assert kernel.dtype == "int8"
    inputs_scale = 127 / np.abs(ops.convert_to_numpy(x)).max(axis=1, keepdims=True)
    integers = np.round(ops.convert_to_numpy(x) * inputs_scale) @ kernel.astype("float32")
    found = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(found, integers / inputs_scale / scale, rtol=2e-5, atol=1e-5)
    assert 0 < np.abs(found - exact).max() < 0.05


@slow_but_on_torch
def test_a_subclass_of_our_dense_is_not_quantized_unasked(images):
    class Own(Dense):
        pass

    layer = Own(3)
    layer(images(1, 4))
    with pytest.raises(NotImplementedError, match="Own"):
        layer.quantize("int8")
    layer.quantize("int8", type_check=False)
    assert layer.quantization_mode == "int8"
