"""The functions of the variants: their signature, and models on other tensors."""

import keras
import numpy as np
import pytest

from keras_paca import PaCaSmall, PaCaTiny, PaCaViT


def test_keras_input_as_input_tensor(images, tmp_path):
    inputs = keras.Input((64, 64, 3))
    model = PaCaTiny(weights=None, input_tensor=inputs, classes=4)
    assert isinstance(model, PaCaViT)
    assert model.input is inputs
    assert model.image_shape == (64, 64, 3)


def test_input_tensor_that_is_no_float_input(images):
    inputs = keras.Input((64, 64, 3), dtype="uint8")
    model = PaCaTiny(weights=None, input_tensor=inputs, classes=4)
    assert type(model) is not PaCaViT
    assert model.predict(np.zeros((1, 64, 64, 3), "uint8"), verbose=0).shape == (1, 4)


def test_signature_is_that_of_keras_applications():
    import inspect

    parameters = inspect.signature(PaCaSmall).parameters
    expected = ["include_top", "include_preprocessing", "weights", "input_tensor", "input_shape"]
    expected += ["pooling", "classes", "classifier_activation", "name"]
    assert list(parameters)[: len(expected)] == expected
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[len(expected) :])
    assert list(parameters)[-1] == "dtype"
    assert parameters["weights"].default == "imagenet"
    assert parameters["name"].default == "paca_small"
    for name in parameters:
        assert f"\n    {name}: " in PaCaSmall.__doc__
    assert "depths=(3, 3, 10, 3)" in PaCaSmall.__doc__
    assert parameters["drop_path_rate"].annotation == float | None
    with pytest.raises(
        TypeError, match=r"PaCaSmall\(\) got an unexpected keyword argument 'depth'"
    ):
        PaCaSmall(depth=3)
