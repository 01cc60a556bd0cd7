"""Fused models compute what they did before, with fewer weights."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers, segmentation
from keras_paca.detection import MaskRCNN
from keras_paca.inference import can_fuse
from keras_paca.segmentation import Segmenter
from tests.inference.compare import arrays, error, randomise
from tests.marks import slow_but_on_torch


def check(model, images, tolerance=1e-5):
    """Fuse a model of random weights, compare, and return the fused one."""
    randomise(model)
    before = [ops.convert_to_numpy(weight).copy() for weight in model.weights]
    fused = keras_paca.fuse(model)
    assert isinstance(fused, type(model))
    assert fused.name == model.name
    assert fused.count_params() < model.count_params()
    found, wanted = (x.predict(images, verbose=0) for x in (fused, model))
    assert error(found, wanted) <= tolerance
    for weight, array in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), array)
    return fused


# --- Models -----------------------------------------------------------------------------------


def build_segmenter(head, backbone):
    if head == "upernet":
        auxiliary = segmentation.FCNHead(3, 8, name="auxiliary_head")
        return Segmenter(backbone, segmentation.UPerHead(3, 8), 3, auxiliary_head=auxiliary)
    part = {
        "paca": segmentation.PaCaSegmentationHead,
        "fpn": segmentation.SemanticFPNHead,
        "mask_transformer": segmentation.MaskTransformerHead,
    }[head]
    return Segmenter(backbone, part(3, 8), 3)


@pytest.mark.parametrize(
    "head",
    [
        "paca",
        *(
            pytest.param(head, marks=slow_but_on_torch)
            for head in ("upernet", "fpn", "mask_transformer")
        ),
    ],
)
def test_segmenter(head, small, images):
    model = randomise(build_segmenter(head, small(include_top=False)))
    fused = keras_paca.fuse(model)
    assert isinstance(fused, Segmenter)
    both = (keras.Model(x.inputs, x.outputs) for x in (fused, model))  # auxiliary logits too
    found, wanted = (x.predict(images(2, 64, 45, 3), verbose=0) for x in both)
    assert len(keras.tree.flatten(wanted)) == (2 if head in ("paca", "upernet") else 1)
    assert error(found, wanted) <= 1e-5
    norms = [
        sum(isinstance(layer, keras.layers.BatchNormalization) for layer in x._flatten_layers())
        for x in (fused, model)
    ]
    counts = {"paca": 9, "upernet": 4 + 1 + 3 + 3 + 1 + 1, "fpn": 1 + 1 + 2 + 3}
    assert norms == [0, counts.get(head, 0)]


@slow_but_on_torch
def test_detector(small, images):
    backbone = small(include_top=False, layer_scale=0.1)
    model = MaskRCNN(backbone, 3, channels=16, proposals=30, max_detections=8, score_threshold=0.0)
    fused = check(model, images(1, 64, 80, 3))
    assert fused.backbone.get_config()["fused"]


# --- Models of others -------------------------------------------------------------------------


class Doubled(keras.layers.Layer):
    """A layer that nobody registered."""

    def call(self, inputs):
        return 2 * inputs


@slow_but_on_torch
def test_model_around_a_backbone(small, images, tmp_path):
    backbone = small(include_top=False, input_shape=(40, 48, 3))
    scaling = keras.layers.Normalization()
    scaling.adapt(images(4, 40, 48, 3))
    inputs = keras.Input((40, 48, 3))
    x = backbone(scaling(inputs) * 50)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Lambda(lambda x: x / 2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Dense(4)(Doubled()(x)), name="own")
    for part in (backbone, model.layers[-1], model.layers[-4]):
        randomise(part)
    fused = keras_paca.fuse(model)
    x = images(2, 40, 48, 3)
    assert error(fused.predict(x, verbose=0), model.predict(x, verbose=0)) <= 1e-5
    assert fused.name == "own"
    assert fused.count_params() < model.count_params()


@slow_but_on_torch
def test_model_of_the_levels_and_sequential_model(small, images):
    backbone = small(include_top=False)
    check(keras.Model(backbone.input, backbone.pyramid_outputs), images(1, 45, 64, 3))
    check(keras.Sequential([backbone, keras.layers.GlobalMaxPooling2D()]), images(1, 45, 64, 3))
    check(backbone.as_segformer_encoder(), images(1, 45, 64, 3))


@slow_but_on_torch
def test_subclassed_model(small, images):
    class Tagger(keras.Model):
        def __init__(self, backbone, **kwargs):
            super().__init__(**kwargs)
            self.backbone, self.tags = backbone, keras.layers.Dense(2)

        def call(self, inputs):
            return self.tags(ops.mean(self.backbone(inputs), axis=(1, 2)))

        def get_config(self):
            backbone = keras.saving.serialize_keras_object(self.backbone)
            return {"backbone": backbone, "name": self.name}

        @classmethod
        def from_config(cls, config):
            backbone = keras.saving.deserialize_keras_object(config["backbone"])
            return cls(backbone, name=config["name"])

    model = Tagger(small(include_top=False))
    with pytest.raises(ValueError, match="must be built"):
        keras_paca.fuse(model)
    model(images(1, 32, 32, 3))
    check(model, images(2, 32, 32, 3))


# --- What is kept, and what isn't done --------------------------------------------------------


def test_files_and_fusing_twice(small, images, tmp_path):
    model = randomise(small(name="mine"))
    model.compile("adam", "mse")
    fused = keras_paca.fuse(model)
    fused.save(tmp_path / "fused.keras")
    again, twice = keras.saving.load_model(tmp_path / "fused.keras"), keras_paca.fuse(fused)
    assert again.get_config() == twice.get_config() == fused.get_config()
    assert fused.name == "mine"
    assert not fused.compiled
    for other in (again, twice):
        assert other is not fused
        for found, wanted in zip(other.weights, fused.weights, strict=True):
            assert found.path == wanted.path
            np.testing.assert_array_equal(arrays(found), arrays(wanted))


@slow_but_on_torch
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("mixed_bfloat16", marks=slow_but_on_torch),
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_mixed_policies(policy, small, images):
    """The fused model is no farther from float32 than the other."""
    exact = randomise(small(include_top=False))
    model = randomise(small(include_top=False, dtype=policy))
    fused = keras_paca.fuse(model)
    assert fused.dtype_policy.name == policy
    assert fused.get_layer("preprocessing").dtype == "float32"
    assert [x.dtype_policy.name for x in fused.layers] == [
        x.dtype_policy.name for x in model.layers
    ]
    assert {weight.dtype for weight in fused.weights} == {"float32"}
    x = images(2, 45, 64, 3)
    found, half, wanted = (model.predict(x, verbose=0) for model in (fused, model, exact))
    assert error(found, wanted) <= 1.5 * error(half, wanted)


@slow_but_on_torch
def test_weights_of_half_precision(small, images):
    model = randomise(small(include_top=False, dtype="bfloat16"))
    fused, x = keras_paca.fuse(model), images(1, 32, 32, 3)
    assert {weight.dtype for weight in fused.weights} == {"bfloat16"}
    assert error(fused.predict(x, verbose=0), model.predict(x, verbose=0)) < 0.05


@slow_but_on_torch
def test_frozen_layers_stay_frozen(small):
    model = small()
    for path in ("stem", "stage1_block1"):
        model.get_layer(path).trainable = False
    model.get_layer("stage2_block1").norm2_before.trainable = False  # it will be part of `expand`
    fused = keras_paca.fuse(model)
    assert fused.get_config()["frozen"] == ["stem", "stage1_block1"]
    assert not fused.get_layer("stage1_block1").attention.query_dense.kernel.trainable
    assert fused.get_layer("stage2_block1").mlp.expand_dense.kernel.trainable
    model.trainable = False
    assert not keras_paca.fuse(model).trainable_variables


@slow_but_on_torch
def test_quantized_models_are_refused():
    dense = keras.layers.Dense(2, name="last")
    model = keras.Sequential([keras.Input((5, 6, 8)), layers.ConvMLP(), dense])
    dense.quantize("int8")
    with pytest.raises(ValueError, match=r"Fuse first and quantize then: .* with '.*last' in"):
        keras_paca.fuse(model)


@slow_but_on_torch
def test_models_without_our_layers_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must have layers of keras_paca"):
        keras_paca.fuse(model)


@slow_but_on_torch
def test_fused_model_trains(small, images):
    model = keras_paca.fuse(small(dropout=0.1, drop_path_rate=0.1))
    model.compile("sgd", "mse")
    (before,) = arrays(model.get_layer("stage4_block1").attention.value_dense.kernel)
    loss = model.fit(images(2, 32, 32, 3), np.zeros((2, 5)), verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    (after,) = arrays(model.get_layer("stage4_block1").attention.value_dense.kernel)
    assert (before != after).any()


def test_what_can_be_fused(small):
    """Models with layers of ours, fused or not; a layer of others may have an argument `fused`."""

    class Other(keras.layers.Dense):
        fused = False

    assert can_fuse(small())
    assert can_fuse(keras_paca.fuse(small()))
    assert not can_fuse(keras.Sequential([keras.Input((2,)), Other(3)]))
