"""What a file is compared with before it is kept."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.deploy import check as checks
from keras_paca.warn import KerasPaCaWarning
from tests.marks import slow_but_on_tensorflow, with_tensorflow

pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


# --- 16-bit policies --------------------------------------------------------------------------


@slow_but_on_tensorflow
def test_a_copy_that_computes_something_else_is_no_file(tmp_path):
    model = keras.Sequential([keras.Input((32, 32, 3)), Forgetful(3.0, dtype="mixed_float16")])
    with pytest.raises(ValueError, match=r"float32 copy .* in float16.*get_config"):
        keras_paca.export(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@slow_but_on_tensorflow
def test_probabilities_that_16_bits_lose(tmp_path):
    """Their logarithms differ by far more than the bound of the copy."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, dtype="float16")(inputs)
    x = keras.layers.GlobalMaxPooling2D(dtype="float16")(x)
    model = keras.Model(inputs, keras.layers.Softmax(dtype="float16")(x))
    exported = keras_paca.export(model, tmp_path / "model.tflite")
    assert (model.predict(np.full((1, 32, 32, 3), 255.0), verbose=0) == 0).any()
    assert exported.measures["output_0"]["difference"] < 1e-5


@slow_but_on_tensorflow
def test_a_model_that_overflows_in_float16(tmp_path):
    first, last = (keras.layers.Rescaling(scale, dtype="float16") for scale in (1e3, 1e-3))
    between = keras.layers.ReLU(dtype="float16")  # or TensorFlow would multiply the scales
    model = keras.Sequential([keras.Input((32, 32, 3)), first, between, last])
    with pytest.warns(KerasPaCaWarning, match="NaN or infinity in float16"):
        exported = keras_paca.export(model, tmp_path / "model.tflite")
    assert exported.measures["output_0"]["difference"] < 1e-5


@keras.saving.register_keras_serializable("tests")
class Forgetful(keras.layers.Layer):
    """A layer that doesn't say what it was made with."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype_policy.name}


# --- The check --------------------------------------------------------------------------------


@slow_but_on_tensorflow
def test_check_images(small, classifier):
    odd, even = checks.check_images(classifier, (None, None, None, 3))
    assert (odd.shape, even.shape) == ((5, 224, 224, 3), (5, 193, 257, 3))
    assert odd.std(axis=(1, 2, 3)).min() > 30
    assert odd.max() > 200
    normalised = small(include_preprocessing=False)
    (images,) = checks.check_images(normalised, (4, 64, 64, 3))
    assert images.shape == (8, 64, 64, 3)
    assert np.abs(images).max() < 5
    with pytest.raises(ValueError, match="check_data"):
        checks.check_images(classifier, (None, 64, 64, 4))


@slow_but_on_tensorflow
def test_compare():
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((4, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    moved = np.exp(1.01 * logits) / np.exp(1.01 * logits).sum(-1, keepdims=True)
    found = checks.compare({"a": probabilities}, {"a": moved}, "float32")
    assert found["a"]["difference"] == pytest.approx(0.01)  # of the logits
    assert "is 0.01, the bound 1e-05" in checks.exceeded(found, "float32")[0]
    assert checks.exceeded({"a": {"difference": np.nan}}, "float32")
    for precision in ("dynamic", "int8"):
        found = checks.compare({"a": logits}, {"other": -logits}, precision)
        assert found["a"]["cosine"] == pytest.approx(-1)
        assert "cosine of 'a' is -1, the bound 0.95" in checks.exceeded(found, precision)
        found = checks.compare({"a": logits}, {"a": logits[:, ::-1]}, precision)
        assert checks.exceeded(found, precision)
        found = checks.compare({"a": logits}, {"a": logits * np.nan}, precision)
        assert "nan" in checks.exceeded(found, precision)[0]
    with pytest.raises(ValueError, match="outputs"):
        checks.compare({"a": logits}, {"b": logits, "c": logits}, "int8")

    # the first class of the first image leads by more than the rounding, that of the second not
    close = np.array([[3.0, 1.0, 0.0], [2.0, 1.99, 0.0]])
    for moved, share in (([0, 0.1, 0], 1.0), ([-2.0, 1.0, 0], 0.0)):
        found = checks.compare({"a": close}, {"a": close + np.array(moved)}, "int8")
        assert found["a"]["top1"] == share
    assert checks.compare({"a": close[:, :1]}, {"a": -close[:, :1]}, "int8")["a"]["top1"] == 1

    boxes = draw.uniform(0, 50, (1, 3, 4))
    wanted = {"boxes": boxes, "scores": np.ones((1, 3)), "labels": np.array([[1, 2, -1]])}
    other = {**wanted, "boxes": boxes[:, [1, 0, 2]], "labels": np.array([[2, 1, -1]])}
    assert checks.compare(wanted, other, "float32")["detections"]["unmatched"] == 0
    other = {**wanted, "boxes": boxes + 1}
    assert checks.compare(wanted, other, "float32")["detections"]["unmatched"] == 1
