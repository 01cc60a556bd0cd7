"""The input of a backbone: what is taken, and what is refused."""

import keras
import numpy as np
import pytest

from keras_paca import PaCaTiny
from keras_paca.backbones.input_shape import check_input_shape, is_plain_input, shape_of_tensor


@pytest.mark.parametrize(
    "shape",
    [
        224,
        (224, 224),
        "224",
        (16, 16, 3),
        (-1, -1, 3),
        (True, True, 3),
        (64.0, 64.0, 3),
        (64, 64, 0),
    ],
)
def test_input_shapes_that_are_none(shape, small):
    with pytest.raises(ValueError, match="`input_shape` must be") as error:
        small(input_shape=shape)
    assert f"input_shape={shape!r}" in str(error.value)


def test_bad_input_tensor(small):
    for tensor in (
        keras.layers.Flatten()(keras.Input((64, 64))),
        keras.Input((64, 64, 3), 1, "uint8"),
    ):
        with pytest.raises(ValueError, match=r"must be a `keras.Input` of float32"):
            small(input_tensor=tensor)
    with pytest.raises(ValueError, match="symbolic Keras tensor"):
        PaCaTiny(weights=None, input_tensor=np.zeros((1, 64, 64, 3)))
    with pytest.raises(ValueError, match="must agree"):
        PaCaTiny(weights=None, input_tensor=keras.Input((64, 64, 3)), input_shape=(32, 32, 3))


@pytest.mark.parametrize(
    ("given", "channels", "expected"),
    [
        (None, True, (None, None, 3)),
        ([32, None, 3], True, (32, None, 3)),
        (np.array([64, 96, 3]), True, (64, 96, 3)),
        ((224, 224, 12), False, (224, 224, 12)),
    ],
)
def test_input_shapes(given, channels, expected):
    found = check_input_shape(given, channels)
    assert found == expected
    assert {type(side) for side in found} <= {int, type(None)}


def test_shapes_of_tensors():
    inputs = keras.Input((32, None, 3))
    assert shape_of_tensor(inputs, None) == shape_of_tensor(inputs, [32, None, 3])
    assert shape_of_tensor(inputs, None) == (32, None, 3)


def test_plain_inputs():
    """Such as a model makes by itself: of the float type of Keras, and before any layer."""
    inputs = keras.Input((32, 32, 3))
    assert is_plain_input(inputs)
    assert not is_plain_input(keras.Input((32, 32, 3), dtype="uint8"))
    assert not is_plain_input(keras.layers.Rescaling(2.0)(inputs))
