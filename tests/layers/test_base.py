"""What the layers have in common: they train, save and load inside models of others."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import layers
from keras_paca.layers.base import BaseLayer, argument_names
from tests.marks import slow_but_on_torch


@slow_but_on_torch
def test_layers_in_somebodys_own_model_train_and_reload(tmp_path, images):
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x, assignment = layers.PaCaBlock(2, layers.ConvClustering(4, 3), drop_path_rate=0.2)(x)
    x, assignment = layers.PaCaBlock(2)(x, assignment)
    x = layers.OverlappingTransition(12)(x)
    x = layers.PatchToClusterAttention(3)(x, layers.MLPClustering(5)(x))
    (given,), (features,) = layers.ConvMixerTeacher((12,), (1,), (6,), 3)(x)
    x = layers.PatchToClusterAttention(3)(keras.layers.Add()([x, features]), given)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model.compile("adam", "mse")
    x = images(4, 16, 20, 3) / 255
    model.fit(x, np.zeros((4, 12)), epochs=2, verbose=0)
    model.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_sequential_of_our_layers(images):
    model = keras.Sequential(
        [layers.OverlappingStem(8), layers.PaCaBlock(2), layers.ConvMLP(), layers.DropPath(0.5)]
    )
    assert model.predict(images(2, 33, 40, 3), verbose=0).shape == (2, 9, 10, 8)


@slow_but_on_torch
@pytest.mark.parametrize("part", ["whole", "inside"])
def test_layers_in_a_model_of_others(part, tmp_path):
    """Keras itself loses what is frozen inside a layer."""
    inputs = keras.Input((16, 16, 8))
    block = layers.PaCaBlock(2, layers.ConvClustering(4, 3))
    x, _ = block(layers.OverlappingTransition(8)(inputs))
    model = keras.Model(inputs, x)
    if part == "whole":
        block.trainable = False
    else:
        block.attention.query_dense.trainable = block.clustering.trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    assert not all(v.trainable for v in again.weights)


def test_an_argument_that_a_subclass_keeps_elsewhere():
    class Gated(layers.ConvMLP):
        def __init__(self, gate, **kwargs):
            super().__init__(**kwargs)
            self.inner_gate = gate

        def get_config(self):
            return {**super().get_config(), "gate": self.inner_gate}

    assert Gated(3, mlp_ratio=2.0).get_config()["gate"] == 3


@slow_but_on_torch
@pytest.mark.parametrize("fused", [False, True])
def test_every_layer_inside_has_a_configuration(fused, small):
    model = small(clustering="teacher", include_top=False)
    model = keras_paca.segmentation.Segmenter(model, "upernet", 3)
    for layer in (keras_paca.fuse(model) if fused else model)._flatten_layers():
        if isinstance(layer, BaseLayer):
            config = layer.get_config()
            assert set(argument_names(type(layer), BaseLayer)) <= set(config)
