"""Large depthwise convolutions in strips, as LiteRT files hold them."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.deploy import depthwise
from keras_paca.deploy.litert_operators import read_operators
from keras_paca.layers import DepthwiseConv2D
from tests.marks import slow_but_on_tensorflow, with_tensorflow


def model_of(size, sides=(9, 12), **options):
    model = keras.Sequential([keras.Input((*sides, 4)), DepthwiseConv2D(size, **options)])
    draw = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(draw.standard_normal(weight.shape))
    return model


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("options", [{}, {"shortcut": True}, {"use_bias": False}])
@pytest.mark.parametrize(("size", "sides"), [(7, (9, 12)), (9, (7, 9)), (7, (2, 3)), (7, (1, 8))])
def test_strips_compute_the_same(size, sides, options, fused, quantize, images):
    """On maps smaller than the kernel too."""
    model = model_of(size, sides, **options)
    x = images(2, *sides, 4) / 255
    expected = keras.ops.convert_to_numpy(model(x))
    model = keras_paca.fuse(model) if fused else model
    with depthwise.depthwise_of_format(model, "litert", quantize):
        assert "convolve" in vars(model.layers[0])
        found = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert "convolve" not in vars(model.layers[0])


@pytest.mark.parametrize(("size", "format"), [(5, "litert"), (7, "onnx"), (7, "tf_saved_model")])
def test_what_stays_whole(size, format):
    model = model_of(size)
    with depthwise.depthwise_of_format(model, format):
        assert "convolve" not in vars(model.layers[0])


def test_maps_of_unknown_sides_stay_whole():
    model = model_of(7)
    inputs = keras.Input((None, 12, 4))
    with depthwise.depthwise_of_format(model, "litert"):
        assert model.layers[0](inputs).shape == (None, None, 12, 4)


@with_tensorflow
@slow_but_on_tensorflow
@pytest.mark.usefixtures("their_warnings")
def test_a_file_has_strips_that_are_small_enough(tmp_path, images):
    model = keras.Sequential([keras.Input((32, 32, 3)), DepthwiseConv2D(7, shortcut=True)])
    exported = keras_paca.export(model, tmp_path / "model.tflite")
    assert exported.measures["output_0"]["difference"] < 1e-5
    names = [each.name for each in read_operators(exported.path.read_bytes())]
    assert (names.count("DEPTHWISE_CONV_2D"), names.count("ADD")) == (3, 2)
    data = images(2, 32, 32, 3)
    exported = keras_paca.export(model, exported.path, quantize="int8", representative_data=data)
    names = [each.name for each in read_operators(exported.path.read_bytes())]
    assert (names.count("DEPTHWISE_CONV_2D"), names.count("ADD")) == (3, 3)
    assert exported.measures["output_0"]["cosine"] > 0.999
