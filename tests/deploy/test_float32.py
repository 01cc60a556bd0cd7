"""Copies that compute in float32."""

import keras
import numpy as np
import pytest

from keras_paca import detection, segmentation
from keras_paca.deploy.float32 import float32_copy, in_float32, precision_of
from tests.marks import slow_but_on_torch


def half_layers(model):
    layers = model._flatten_layers()
    return [layer.path for layer in layers if layer.dtype_policy.compute_dtype != "float32"]


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        pytest.param("mixed_bfloat16", marks=slow_but_on_torch),
        pytest.param("float16", marks=slow_but_on_torch),
        "bfloat16",
    ],
)
def test_the_same_weights_in_float32(policy, small):
    model = small(dtype=policy)
    copy = float32_copy(model)
    assert precision_of(model) == policy.removeprefix("mixed_")
    assert precision_of(copy) == "float32"
    assert type(copy) is type(model)
    assert not half_layers(copy)
    assert {variable.dtype for variable in copy.weights if "float" in variable.dtype} == {"float32"}
    for mine, theirs in zip(copy.weights, model.weights, strict=True):
        mine, theirs = (keras.ops.convert_to_numpy(each.value) for each in (mine, theirs))
        np.testing.assert_array_equal(mine.astype("float32"), theirs.astype("float32"))


@slow_but_on_torch
@pytest.mark.parametrize(
    "kind",
    [
        "segmenter",
        "detector",
        "functional",
        "sequential",
        pytest.param("quantized", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_model(kind, small, images):
    policy = "mixed_bfloat16"
    backbone = small(include_top=False, dtype=policy, input_shape=(64, 64, 3))
    inputs = keras.Input((64, 64, 3))
    top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, dtype=policy)]
    model = {
        "segmenter": lambda: segmentation.Segmenter(backbone, "paca", num_classes=4),
        "detector": lambda: detection.MaskRCNN(
            backbone, 3, channels=16, proposals=20, max_detections=5
        ),
        "functional": lambda: keras.Model(
            inputs, keras.ops.cast(top[1](top[0](backbone(inputs))), "float16")
        ),
        "sequential": lambda: keras.Sequential([inputs, backbone, *top]),
        "quantized": lambda: backbone,
    }[kind]()
    if kind == "quantized":
        with pytest.warns(UserWarning, match="does not have a `quantize`"):
            model.quantize("int8")
    copy = float32_copy(model)
    assert not half_layers(copy)
    assert all(output.dtype in ("float32", "int32") for output in copy.outputs)
    assert len(copy.weights) == len(model.weights)
    if kind == "detector":
        return  # whose proposals rounding orders anew
    x = images(2, 64, 64, 3)
    found, wanted = (keras.tree.flatten(each.predict(x, verbose=0))[0] for each in (copy, model))
    wanted = wanted.astype("float32")
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


@slow_but_on_torch
def test_a_global_policy(small):
    """Layers without a policy of their own would take the global one again."""

    @keras.saving.register_keras_serializable("tests")
    class Two(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inside = keras.layers.Dense(2)

        def build(self, shape):
            self.inside.build(shape)

        def call(self, x):
            return self.inside(x)

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((8, 8, 3)), Two()])
    copy = float32_copy(model)
    assert half_layers(model)
    assert not half_layers(copy)
    assert not half_layers(float32_copy(small()))
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.floatx() == "float32"


@slow_but_on_torch
def test_a_configuration_that_is_not_enough():
    class Needs(keras.layers.Layer):
        def __init__(self, count):
            super().__init__(dtype="mixed_float16")

        def call(self, x):
            return x

    inputs = keras.Input((8, 8, 3))
    message = r'computes in float16 .*Build it with dtype="float32"'
    with pytest.raises(ValueError, match=message) as error:
        float32_copy(keras.Model(inputs, Needs(3)(inputs)))
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


@slow_but_on_torch
def test_dtypes_in_configurations():
    config = {
        "name": "float16",
        "dtype": {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}},
        "layers": [{"compute_dtype": "bfloat16"}, {"dtype": "int8_from_mixed_bfloat16"}],
        "shape": (None, 3),
    }
    assert in_float32(config) == {
        "name": "float16",
        "dtype": {"class_name": "DTypePolicy", "config": {"name": "float32"}},
        "layers": [{"compute_dtype": "float32"}, {"dtype": "int8_from_float32"}],
        "shape": (None, 3),
    }
    assert config["dtype"]["config"]["name"] == "mixed_float16"
