"""What copies of models keep: which layers are frozen, and which models are refused."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import layers

import keras_paca
from keras_paca import attentive, castle


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """Attention and a norm whose names Keras makes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, shape):
        self.norm.build(shape)
        self.attention.build(shape, shape)

    def call(self, inputs):
        x = self.norm(inputs)
        return inputs + self.attention(x, x)


def transformer():
    inputs = keras.Input((9, 8))
    return keras.Model(inputs, layers.Dense(3)(Block(name="block")(inputs)))


def nested():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3)(x))
    base = keras.Model(inputs, x, name="base")
    outer = keras.Input((8, 8, 3))
    return keras.Model(outer, layers.Dense(2)(base(outer, training=False)))


def names(model):
    return sorted(x.path.rsplit("/", 1)[-1] for x in model.trainable_variables)


def test_a_frozen_base_stays_frozen_and_can_be_thawed():
    model = nested()
    model.get_layer("base").trainable = False
    converted = attentive(model, where="norm")
    base = converted.get_layer("base")
    assert (base.trainable, len(converted.trainable_variables)) == (False, 2)
    base.trainable = True
    # kernel and bias of the convolution and of the head; scales, offsets, kernel and the norm of AN
    assert len(converted.trainable_variables) > 6
    model.trainable = False
    assert not attentive(model, where="norm").trainable


def test_layers_frozen_inside_others_stay_frozen():
    x = inputs = keras.Input((9, 8))
    x = Block(name="block")(x)
    x = layers.BatchNormalization(name="norm")(layers.Reshape((3, 3, 8))(x))
    model = keras.Model(inputs, x)
    model.get_layer("block").norm.trainable = False
    for converted in (attentive(model, where="norm"), castle(model)):
        block = converted.get_layer("block")
        assert (block.trainable, block.norm.trainable, block.attention.trainable) == (
            True,
            False,
            True,
        )


def test_frozen_attention_stays_frozen():
    model = transformer()
    model.get_layer("block").attention.trainable = False
    attention = castle(model).get_layer("block").attention
    assert (attention.trainable, attention.query_dense.trainable) == (False, False)


def test_subclasses_of_norms_are_refused():
    class Odd(layers.BatchNormalization):
        def call(self, inputs, training=None):
            return -super().call(inputs, training=training)

    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="A subclass of"):
        attentive(keras.Model(inputs, Odd(name="odd")(inputs)), where="odd")


def test_attention_over_some_axes_is_refused():
    inputs = keras.Input((4, 5, 8))
    rows = layers.MultiHeadAttention(2, 4, attention_axes=(1,))
    with pytest.raises(ValueError, match=r"goes over all axes.*attention_axes=\(1,\)"):
        castle(keras.Model(inputs, rows(inputs, inputs)))
    every = layers.MultiHeadAttention(2, 4)
    castled = castle(keras.Model(inputs, every(inputs, inputs)))
    assert castled.output_shape == (None, 4, 5, 8)


def test_the_threshold_is_saved(tmp_path):
    inputs = keras.Input((9, 8))
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    models = {
        "castled": castle(transformer()),
        "layer": castle(keras.Model(inputs, attention(inputs, inputs))),
        "vit": keras_paca.CastlingViT(8, num_heads=2, depth=1, classes=3),
    }
    for name, model in models.items():
        found = [
            x
            for x in model._flatten_layers()
            if isinstance(x, keras_paca.layers.LinearAngularAttention)
        ]
        for layer in found:
            layer.threshold = 0.5
        model.save(tmp_path / f"{name}.keras")
        again = keras.saving.load_model(tmp_path / f"{name}.keras")
        thresholds = [
            x.threshold
            for x in again._flatten_layers()
            if isinstance(x, keras_paca.layers.LinearAngularAttention)
        ]
        assert thresholds == [0.5] * len(found), name
        for layer in found:
            layer.auxiliary = False
        assert model.auxiliary is False
        assert type(model).from_config(model.get_config()).auxiliary is False


def test_copies_of_a_castled_model():
    model = castle(transformer())
    images = np.random.default_rng(0).normal(size=(2, 9, 8)).astype("float32")
    wanted = model.predict(images, verbose=0)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(made).__mro__[1:] == type(model).__mro__[1:]
        np.testing.assert_allclose(made.predict(images, verbose=0), wanted, atol=1e-6)
    with pytest.raises(ValueError, match="clone_model"):
        keras.models.clone_model(model)
    with pytest.raises(ValueError, match=r"model\.save"):
        model.save_to_preset("preset")


def test_a_model_around_a_castled_one_is_saved(tmp_path):
    castled = castle(transformer())
    inputs = keras.Input((9, 8))
    model = keras.Model(inputs, layers.Dense(2)(castled(inputs)))
    model.save(tmp_path / "model.keras")
    x = np.ones((1, 9, 8), "float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
