"""The precisions of LiteRT's files."""

import pytest

import keras_paca
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


@pytest.mark.slow
@slow_but_on_tensorflow
def test_rapidnet_in_half_the_size(tmp_path):
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    model = keras_paca.RapidNet((8, 8, 16, 24), depths, classes=5, layer_scale=0.5)
    path = tmp_path / "model.tflite"
    plain = keras_paca.export(model, path, image_size=64)
    half = keras_paca.export(model, path, image_size=64, quantize="float16")
    builtin(half)
    assert half.measures["output_0"]["difference"] < 1e-2
    assert half.size < 0.7 * plain.size


# --- 16-bit policies --------------------------------------------------------------------------


@pytest.mark.slow
@slow_but_on_tensorflow
def test_a_mixed_classifier_in_half_the_size(small, tmp_path):
    model = small(dtype="mixed_float16")
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", image_size=64, quantize="float16", verbose=False
    )
    builtin(exported)
    assert exported.precision == "float16"
    assert exported.measures["output_0"]["difference"] < 1e-2
