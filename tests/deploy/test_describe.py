"""What models say about themselves, live and from their configurations."""

import keras
import numpy as np
import pytest

from keras_paca import PaCaViT, detection, segmentation
from keras_paca._version import __version__
from keras_paca.deploy.describe import NORMALISED, RGB, describe, describe_config, input_kind
from keras_paca.preprocessing import EvaluationTransform
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch
NAMES = ["one", "two", "three", "four", "five"]
TRANSFORM = {"image_size": [64, 64], "crop": 0.9}


def named(model, names=NAMES):
    model.class_names = names
    if isinstance(model, PaCaViT):
        model.evaluation_transform = TRANSFORM
    return model


def serialized(model, names=NAMES):
    """The configuration of a model whose innermost one of ours has names."""
    config = keras.saving.serialize_keras_object(model)

    def walk(node):
        if isinstance(node, dict):
            if {"include_preprocessing", "include_top", "clusters"} <= set(node):
                node.update(class_names=names, evaluation_transform=TRANSFORM)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(config)
    return config


def detector(backbone, **options):
    small = {"channels": 16, "proposals": 20, "max_detections": 5}
    return detection.MaskRCNN(backbone, 5, **small, **options)


def test_each_class(small):
    backbone = small(include_top=False)
    assert describe(named(small())) == {
        "class_names": NAMES,
        "evaluation_transform": TRANSFORM,
        "task": "classification",
        "input": RGB,
        "num_classes": 5,
        "keras_paca_version": __version__,
    }
    found = describe(named(segmentation.Segmenter(backbone, num_classes=5)))
    assert (found["task"], found["num_classes"], found["ignore_class"]) == ("segmentation", 5, 255)
    assert found["class_names"] == NAMES
    found = describe(named(detector(backbone, bounding_box_format="yxyx")))
    assert (found["task"], found["bounding_box_format"]) == ("detection", "yxyx")
    assert found["class_names"] == NAMES
    found = describe(small(include_top=False, include_preprocessing=False, pooling="avg"))
    assert (found["task"], found["input"]) == ("features", NORMALISED)
    assert found["class_names"] is found["num_classes"] is None
    for view in (backbone.as_segformer_encoder(), backbone.as_dict_encoder()):
        assert (describe(view)["task"], describe(view)["input"]) == ("features", RGB)


def test_models_of_others():
    assert set(describe(plain(None)).values()) == {None, __version__}
    assert describe(plain(NAMES))["class_names"] == NAMES


def plain(names, transform=None):
    """A model of others with five classes."""
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(5)])
    model.class_names, model.evaluation_transform = names, transform
    return model


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:4], "must have one name for each of the 5 classes. Received: 4 names"),
        ("cat", "must be a list of strings. Received: 'cat'"),
        ([1, 2, 3, 4, 5], "must be a list of strings"),
    ],
)
def test_wrong_names(names, message):
    with pytest.raises(ValueError, match=f"^`class_names` {message}"):
        describe(plain(names))


def test_names_from_elsewhere():
    assert describe(plain(tuple(NAMES)))["class_names"] == NAMES
    assert describe(plain(np.array(NAMES)))["class_names"] == NAMES
    with pytest.raises(ValueError, match="`evaluation_transform` must hold numbers"):
        describe(plain(NAMES, {"image_size": object()}))


def around(model, before=(), after=()):
    x = inputs = keras.Input((64, 64, 3))
    for layer in (*before, model, *after):
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("sequential", [False, True])
def test_models_around_ours(sequential, small):
    def make(*layers):
        if sequential:
            return keras.Sequential([keras.Input((64, 64, 3)), *layers])
        return around(layers[0], after=layers[1:])

    last = [keras.layers.Activation("softmax"), keras.layers.Rescaling(100.0)]
    found = describe_config(serialized(make(small(), *last)))
    assert found["class_names"] == NAMES
    assert found["evaluation_transform"] == TRANSFORM
    assert (found["task"], found["num_classes"]) == ("classification", 5)
    twice = keras.Sequential([keras.Input((64, 64, 3)), make(small(), *last), last[0]])
    assert describe_config(serialized(twice))["class_names"] == NAMES
    # behind these the last axis has other classes
    other_heads = (
        [keras.layers.Dense(3)],
        [keras.layers.Dense(5)],
        [keras.layers.Reshape((5, 1))],
        [keras.layers.Lambda(lambda x: x[:, ::-1], output_shape=(5,))],
    )
    for layers in other_heads:
        model = make(small(), *layers)
        assert describe_config(serialized(model)) == {}
        assert describe(model)["task"] is None


def test_several_outputs(small):
    model, inputs = small(), keras.Input((64, 64, 3))
    found = model(inputs)
    both = keras.Model(inputs, {"scores": found, "mean": keras.layers.Flatten()(inputs)})
    assert describe_config(serialized(both))["class_names"] == NAMES
    two = keras.Model(inputs, [found, small()(inputs)])
    assert describe_config(serialized(two)) == {}  # which of them?
    boxes = around(detector(small(include_top=False)))
    assert describe(boxes)["task"] == "detection"


def test_inputs(small):
    ours, normalised = small(), small(include_preprocessing=False)
    resizing = keras.layers.Resizing(64, 64, data_format="channels_last")
    rescaling = keras.layers.Rescaling(1 / 255)
    kinds = {
        RGB: [
            around(ours),
            around(ours, [resizing, keras.layers.RandomFlip()]),
            around(ours, [EvaluationTransform(64)]),
            keras.Sequential([resizing, ours]),
            keras.Sequential([keras.Input((64, 64, 3)), keras.Sequential([resizing, ours])]),
            segmentation.Segmenter(small(include_top=False), num_classes=5),
        ],
        NORMALISED: [
            around(normalised),
            segmentation.Segmenter(small(include_top=False, include_preprocessing=False)),
        ],
        None: [
            around(normalised, [rescaling]),
            around(ours, [keras.layers.Rescaling(255.0)]),
            keras.Sequential([keras.Input((64, 64, 3)), rescaling, normalised]),
            keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Dense(2)]),
        ],
    }
    for kind, models in kinds.items():
        for model in models:
            assert input_kind(model) == kind, model


def test_a_layer_without_a_configuration(small):
    class Silent(keras.layers.Layer):
        def __init__(self, factor):
            super().__init__()

        def call(self, x):
            return x

    model = around(small(), after=[Silent(object())])
    assert describe(model)["task"] is None
    assert input_kind(model) is None
