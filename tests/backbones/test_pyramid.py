"""One's own backbone: any functional model with `pyramid_outputs`, however it was made."""

import keras
import numpy as np
import pytest

from keras_paca.backbones.pyramid import FunctionalPyramid, as_pyramid
from keras_paca.detection import MaskRCNN
from keras_paca.segmentation import Segmenter, SemanticFPNHead
from tests.marks import slow_but_on_torch


def own(kind="plain", size=(64, 64)):
    """Return a model of convolutions with levels P1 to P5."""
    inputs = keras.Input((*size, 3), name="picture")
    x = keras.layers.RandomBrightness(0.1)(inputs) if kind == "augmented" else inputs
    levels = {}
    for i, filters in enumerate((4, 4, 8, 8, 8), start=1):
        x = keras.layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
        levels[f"P{i}"] = x
    given = {"list": [inputs], "dict": {"picture": inputs}}.get(kind, inputs)
    model = (OwnBackbone if kind == "subclass" else keras.Model)(given, x)
    if kind == "beyond":  # a level that isn't part of the model's own graph
        levels["P5"] = keras.layers.Conv2D(8, 1, name="beyond")(x)
    model.pyramid_outputs = levels
    return model


class OwnBackbone(keras.Model):
    """Of a class that nobody registered."""


def make(task, backbone):
    if task == "segmenter":
        return Segmenter(backbone, SemanticFPNHead(3, 8, pyramid_channels=8), 3)
    return MaskRCNN(backbone, 3, channels=8, proposals=20, candidates=20, max_detections=4)


@slow_but_on_torch
@pytest.mark.parametrize("kind", ["plain", "list", "dict", "augmented", "beyond", "subclass"])
@pytest.mark.parametrize("task", ["segmenter", "detector"])
def test_saved_and_loaded(task, kind, tmp_path):
    model = make(task, own(kind))
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    a, b = (keras.tree.flatten(m.predict(images, verbose=0))[0] for m in (model, again))
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert len(again.trainable_variables) == len(model.trainable_variables)
    copy = type(model).from_config(model.get_config())
    assert len(copy.weights) == len(model.weights)


def test_layers_are_shared():
    backbone = own()
    pyramid = as_pyramid(backbone)
    assert isinstance(pyramid, FunctionalPyramid)
    assert list(pyramid.pyramid_outputs) == ["P2", "P3", "P4", "P5"]
    backbone.trainable = False
    assert not pyramid.trainable_variables
    assert as_pyramid(pyramid) is pyramid


@slow_but_on_torch
def test_layers_before_a_backbone(small, tmp_path):
    """As the error message says it is done."""
    backbone = small(include_top=False)
    inputs = keras.Input((64, 64, 3))
    x = keras.layers.RandomBrightness(0.1)(inputs)
    model = keras.Model(inputs, backbone(x))
    model.pyramid_outputs = backbone.pyramid_outputs
    for task in ("segmenter", "detector"):
        with pytest.raises(ValueError, match="computed from the backbone's own input"):
            make(task, model)
    levels = keras.Model(backbone.input, backbone.pyramid_outputs)(x)
    model = keras.Model(inputs, levels)
    model.pyramid_outputs = levels
    segmenter = make("segmenter", model)
    segmenter.save(tmp_path / "model.keras")
    images = np.zeros((1, 64, 64, 3), "float32")
    again = keras.saving.load_model(tmp_path / "model.keras").predict(images, verbose=0)
    np.testing.assert_allclose(again, segmenter.predict(images, verbose=0), atol=1e-5)


def test_backbones_that_are_refused(small):
    inputs = [keras.Input((64, 64, 3)), keras.Input((64, 64, 3))]
    two = keras.Model(inputs, keras.layers.Add()(inputs))
    two.pyramid_outputs = dict.fromkeys(("P2", "P3", "P4", "P5"), two.inputs[0])

    class Subclassed(keras.Model):
        pyramid_outputs = two.pyramid_outputs

    few = own()
    del few.pyramid_outputs["P3"]
    for backbone, words in (
        (two, "one input"),
        (Subclassed(), "must be a functional model"),
        (few, "with the levels"),
        (None, "with the levels"),
    ):
        for task in ("segmenter", "detector"):
            with pytest.raises(ValueError, match=words):
                make(task, backbone)


def test_levels_that_are_no_tensors():
    backbone = own()
    backbone.pyramid_outputs = {**backbone.pyramid_outputs, "P2": None}
    for task in ("segmenter", "detector"):
        with pytest.raises(ValueError, match=r"each a KerasTensor.*'P2': 'NoneType'"):
            make(task, backbone)
    backbone.pyramid_outputs = list(own().pyramid_outputs.values())
    with pytest.raises(ValueError, match="with pyramid_outputs of TrackedList"):
        make("detector", backbone)


@pytest.mark.parametrize("size", [(None, None), (64, 64), (32, None), (97, 130)])
def test_strides(size):
    """Anchors and regions have strides of 4 to 32; a segmenter takes others."""
    make("detector", own(size=size))
    backbone = own(size=size)
    levels = list(backbone.pyramid_outputs.values())
    backbone.pyramid_outputs = dict(zip(("P2", "P3", "P4", "P5"), levels, strict=False))
    with pytest.raises(ValueError, match=r"the strides 4, 8, 16 and 32\. Received: P2 of") as error:
        make("detector", backbone)
    assert len(str(error.value).splitlines()) == 1
    make("segmenter", backbone)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("side", [64, 65, 95, 127, 300, None])
def test_strides_of_odd_sides(side, padding):
    """Rounding up, down and borders without padding are no other strides."""
    inputs = x = keras.Input((side, side, 3))
    levels = {}
    for i in range(1, 6):
        x = levels[f"P{i}"] = keras.layers.Conv2D(4, 2, 2, padding=padding)(x)
    backbone = keras.Model(inputs, x)
    backbone.pyramid_outputs = levels
    make("detector", backbone)


class Watched(keras.layers.Layer):
    """Remembers how it was called."""

    seen = ()

    def call(self, x, training=True):
        self.seen = (*self.seen, training)
        return x


@slow_but_on_torch
@pytest.mark.parametrize("task", ["segmenter", "detector"])
def test_layers_of_a_backbone_know_whether_it_is_training(task):
    """Dropout drops in training, and images are changed there alone."""
    inputs = keras.Input((64, 64, 3))
    x, levels = Watched(name="watched")(inputs), {}
    for i in range(1, 6):
        x = keras.layers.Conv2D(4, 3, 2, padding="same")(x)
        levels[f"P{i}"] = x = keras.layers.Dropout(0.5)(x)
    backbone = keras.Model(inputs, x)
    backbone.pyramid_outputs = levels
    model, watched = make(task, backbone), backbone.get_layer("watched")
    images = np.ones((1, 64, 64, 3), "float32")
    for training in (True, False):
        watched.seen = ()
        model(images, training=training)
        assert watched.seen == (training,)
    first, second = (keras.tree.flatten(model(images, training=True)) for _ in range(2))
    first, second = (keras.ops.convert_to_numpy(each[-1]) for each in (first, second))
    assert (first != second).any()
    same = [keras.tree.flatten(model.predict(images, verbose=0))[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)
