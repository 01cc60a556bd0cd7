"""LiteRT files in int8: what is in integers, and what stays in float."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_paca
from keras_paca import segmentation
from keras_paca.deploy import write_int8
from keras_paca.deploy.check import check_images
from keras_paca.deploy.describe import RGB
from keras_paca.deploy.litert_operators import read_operators
from keras_paca.deploy.runtime import OPENERS
from tests.deploy.files import builtin
from tests.marks import slow_but_on_tensorflow, with_tensorflow

Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


@pytest.fixture(scope="module")
def network():
    """Return a function that builds a small convolutional network of what RapidNet is made of."""

    def build(activation="softmax"):
        x = inputs = keras.Input((32, 32, 3))
        x = layers.Normalization(mean=[124.0, 116.0, 104.0], variance=[3400.0] * 3)(x)
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(8, 3, strides=2, activation="gelu")(x)
        y = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(7, padding="same")(x))
        y = [
            layers.Conv2D(8, 3, padding="same", dilation_rate=rate, activation="gelu")(y)
            for rate in (2, 3)
        ]
        x = layers.Add()([x, layers.Conv2D(8, 1)(layers.Add()(y))])
        x = layers.Dense(8)(layers.Dense(32, activation="gelu")(x))
        x = layers.Dense(16, activation="gelu")(layers.GlobalAveragePooling2D()(x))
        x = layers.Average()([layers.Dense(10)(x), layers.Dense(10)(x)])
        return keras.Model(inputs, layers.Activation(activation)(x))

    return build


# --- In integers throughout -------------------------------------------------------------------


@slow_but_on_tensorflow
def test_a_convolutional_network_in_integers_but_for_the_last(network, images, tmp_path):
    """Its exact GELUs too, which are one operator with a table of 256 values in int8."""
    model = network()
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", quantize="int8", representative_data=images(8, 32, 32, 3)
    )
    builtin(exported)
    assert exported.float_operators == ("SOFTMAX",)
    assert exported.measures["output_0"]["cosine"] > 0.999
    *others, conversion, last = read_operators(exported.path.read_bytes())
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "GELU", "ADD", "MEAN"} <= {x.name for x in others}
    for each in others:
        assert set(each.inputs + each.outputs) <= {"uint8", "int8", "int32"}
    assert (conversion.name, conversion.outputs) == ("DEQUANTIZE", ("float32",))
    assert (last.name, last.is_last) == ("SOFTMAX", True)


def rapidnet(shape):
    options = {"embedding_dim": 32, "layer_scale": 0.5, "classes": 5}
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    return keras_paca.RapidNet((8, 8, 16, 24), depths, input_shape=shape, **options)


@slow_but_on_tensorflow
def test_rapidnet(tmp_path):
    """Pixels in, integers throughout, and a softmax in float."""
    model = rapidnet((64, 96, 3))
    (data,) = check_images(model, (1, 64, 96, 3))
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(model, path, quantize="int8", representative_data=data)
    assert exported.float_operators == ("SOFTMAX",)
    *others, conversion, last = read_operators(path.read_bytes())
    assert {x for each in others for x in each.inputs + each.outputs} == {"uint8", "int8", "int32"}
    assert (conversion.name, last.name) == ("DEQUANTIZE", "SOFTMAX")
    (entry,) = Interpreter(str(path)).get_input_details()
    assert (entry["dtype"], entry["quantization"]) == (np.uint8, (1.0, 0))
    run, _ = OPENERS["litert"](str(path))
    found = run(data[:1].astype("uint8"))["output_0"]
    np.testing.assert_allclose(found, model.predict(data[:1], verbose=0), atol=0.02)


@slow_but_on_tensorflow
@pytest.mark.parametrize("takes_rgb", [True, False])
def test_the_input_is_of_integers(takes_rgb, network, images, tmp_path, monkeypatch):
    """Pixels as they are, or int8 with a scale and a zero point."""
    monkeypatch.setattr(write_int8, "input_kind", lambda model: RGB if takes_rgb else None)
    data = images(8, 32, 32, 3) * 0.4 + 50  # neither black nor white
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(network(), path, quantize="int8", representative_data=data)
    assert exported.measures["output_0"]["cosine"] > 0.99
    (entry,) = Interpreter(str(path)).get_input_details()
    scale, zero = entry["quantization"]
    if takes_rgb:
        assert (entry["dtype"], scale, zero) == (np.uint8, 1.0, 0)
    else:
        assert entry["dtype"] == np.int8
        assert 100 < 255 * scale < 160  # from 0 to the largest
    run, _ = OPENERS["litert"](str(path))
    x = np.round(data[:1])
    steps = np.clip(np.round(x / scale) + zero, *((0, 255) if takes_rgb else (-128, 127)))
    found = [run(each)["output_0"] for each in (x, steps.astype(entry["dtype"]))]
    np.testing.assert_array_equal(*found)


@pytest.mark.slow
@slow_but_on_tensorflow
def test_outputs_without_a_softmax(network, tmp_path):
    """No operator in float then; and outputs that are features."""
    model = network("linear")
    model = keras.Model(model.inputs, {"maps": model.layers[-10].output, "logits": model.output})
    (data,) = check_images(model, (1, 32, 32, 3))
    exported = keras_paca.export(
        model, tmp_path / "model.tflite", quantize="int8", representative_data=data
    )
    assert exported.float_operators == ()
    assert all(measures["cosine"] > 0.999 for measures in exported.measures.values())


@pytest.mark.slow
@slow_but_on_tensorflow
def test_integers_in_part_where_asked(network, images, tmp_path):
    given = {"quantize": "int8", "representative_data": images(8, 32, 32, 3)}
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(network(), path, **given, integer_only=False)
    assert {"ADD", "MEAN", "SOFTMAX"} <= set(exported.float_operators)
    assert "CONV_2D" not in exported.float_operators
    assert Interpreter(str(path)).get_input_details()[0]["dtype"] == np.float32


@pytest.mark.slow
@slow_but_on_tensorflow
def test_a_softmax_in_the_middle_is_no_matter_for_integers(images, tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = layers.Softmax(axis=-1)(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    given = {"quantize": "int8", "representative_data": images(2, 32, 32, 3)}
    path = tmp_path / "model.tflite"
    exported = keras_paca.export(model, path, **given)
    assert "SOFTMAX" in exported.float_operators
    with pytest.raises(ValueError, match=r"integers throughout: in int8, SOFTMAX would lose"):
        keras_paca.export(model, path, **given, integer_only=True, check=False)
    assert exported.path.stat().st_size == exported.size  # what was there is there


# --- In integers in part ----------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
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
