"""The precisions of LiteRT's files."""

import keras
import pytest

import keras_paca
from keras_paca import segmentation
from tests.deploy.files import builtin
from tests.marks import slow_but_on_tensorflow, with_tensorflow

pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


# --- What is written --------------------------------------------------------------------------


@slow_but_on_tensorflow
@pytest.mark.parametrize(
    "quantize",
    ["int8", *(pytest.param(q, marks=pytest.mark.slow) for q in ("float16", "dynamic"))],
)
def test_quantized_litert(quantize, classifier, images, tmp_path):
    given = {"representative_data": images(8, 64, 64, 3)} if quantize == "int8" else {}
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(
        classifier, path, "litert", image_size=64, quantize=quantize, **given
    )
    builtin(exported)
    assert exported.precision == quantize
    assert exported.measures["output_0"]["difference"] > 1e-5  # something was quantized
    plain = keras_paca.export(classifier, path, "litert", image_size=64, check=False)
    assert exported.size < 0.8 * plain.size


@slow_but_on_tensorflow
def test_int8_of_a_model_of_two_images_at_a_time(images, tmp_path):
    inputs = keras.Input((32, 32, 3), batch_size=2)
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.ops.reshape(x, (2, 30, 120)))
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", quantize="int8", representative_data=images(3, 32, 32, 3)
    )
    assert exported.input_shape[0] == 2
    assert exported.measures["output_0"]["cosine"] > 0.99


@slow_but_on_tensorflow
def test_segmenter_in_int8(small, images, tmp_path):
    """A softmax over patches, whose shares are smaller than an integer's step."""
    model = segmentation.Segmenter(small(include_top=False), "paca", num_classes=4)
    exported = keras_paca.export(
        model,
        tmp_path / "model.tflite",
        "litert",
        image_size=128,
        quantize="int8",
        representative_data=images(4, 128, 128, 3),
    )
    builtin(exported)
    assert exported.measures["output_0"]["cosine"] > 0.98


# --- 16-bit policies --------------------------------------------------------------------------


@slow_but_on_tensorflow
def test_a_mixed_classifier_in_half_the_size(small, tmp_path):
    model = small(dtype="mixed_float16")
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", image_size=64, quantize="float16", verbose=False
    )
    builtin(exported)
    assert exported.precision == "float16"
    assert exported.measures["output_0"]["difference"] < 1e-2
