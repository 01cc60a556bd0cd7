"""Which operators a LiteRT file has, and which compute in floating point."""

import keras
import pytest
from keras import layers

import keras_paca
from keras_paca.deploy import float_operators, litert_operators
from tests.marks import slow_but_on_tensorflow, with_tensorflow

pytestmark = [with_tensorflow, slow_but_on_tensorflow]


@pytest.mark.usefixtures("their_warnings")
def test_operators_in_order(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="gelu")(inputs))
    x = layers.MaxPooling2D()(layers.Softmax()(x))
    model = keras.Model(inputs, {"maps": x, "scores": layers.Softmax()(layers.Flatten()(x))})
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(model, path, check=False)
    found = litert_operators.read_operators(path.read_bytes())
    names = [each.name for each in found]
    expected = "CONV_2D GELU MAX_POOL_2D SOFTMAX MAX_POOL_2D RESHAPE SOFTMAX"
    assert names == float_operators(str(path)) == expected.split()
    assert [each.is_last for each in found] == 4 * [False] + [True, False, True]
    assert found[0].inputs == ("float32", "float32", "float32")
    assert exported.float_operators == tuple(sorted(set(names)))
    data = {"representative_data": images(2, 8, 8, 3), "integer_only": False}
    keras_paca.export(model, path, quantize="int8", **data)
    assert float_operators(path) == ["SOFTMAX", "SOFTMAX"]


def test_what_is_no_litert_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"`path` must be a LiteRT file.*model\.tflite"):
        float_operators(path)
    with pytest.raises(FileNotFoundError):
        float_operators(tmp_path / "none.tflite")


def test_without_a_schema(monkeypatch):
    monkeypatch.setattr(litert_operators, "find_spec", lambda name: None)
    litert_operators._schema.cache_clear()
    with pytest.raises(ImportError, match=r"ai-edge-litert or TensorFlow.*pip install"):
        litert_operators.read_operators(b"")
