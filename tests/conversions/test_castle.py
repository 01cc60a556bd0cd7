"""Castling of models that people already have."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import layers
from keras_paca.warn import KerasPaCaWarning
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch

X = np.random.default_rng(0).normal(size=(2, 9, 8)).astype("float32")


@keras.saving.register_keras_serializable(package="test_castle")
class Block(keras.layers.Layer):
    """A block that makes its attention by itself, as KerasHub's do."""

    def __init__(self, num_heads, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.use_bias = num_heads, use_bias

    def build(self, input_shape):
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy, name="norm")
        self.norm.build(input_shape)
        size = input_shape[-1] // self.num_heads
        self.parts = [
            keras.layers.MultiHeadAttention(
                self.num_heads,
                size,
                use_bias=self.use_bias,
                dtype=self.dtype_policy,
                name=f"mha{i}",
            )
            for i in range(2)
        ]
        for part in self.parts:
            part.build(input_shape, input_shape)

    def call(self, x):
        for part in self.parts:
            y = self.norm(x)
            x = x + part(y, y)
        return x

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "use_bias": self.use_bias}


def attend(x, **options):
    """Attention as a layer of the graph."""
    return keras.layers.MultiHeadAttention(2, 4, name="attention", **options)(x, x)


def model_of(name):
    inputs = keras.Input((9, 8))
    if name == "graph":
        x = attend(inputs, use_bias=False)
    elif name == "blocks":
        x = Block(2, name="block1")(inputs)
        x = Block(4, use_bias=False, name="block2")(x)
    else:
        backbone = keras.Model(inputs, Block(2)(attend(inputs)), name="backbone")
        x = keras.layers.Dense(3, name="head")(backbone(inputs))
    return randomise(keras.Model(inputs, x, name=name))


MODELS = ("graph", *(pytest.param(name, marks=slow_but_on_torch) for name in ("blocks", "nested")))


@pytest.mark.parametrize("name", MODELS)
def test_castle(name, tmp_path):
    """Weights kept, in their other layout; saved, loaded, trained, and its auxiliary ended."""
    model = model_of(name)
    castled = keras_paca.castle(model, kernel_size=3, threshold=0.05)
    assert isinstance(castled, type(model))
    assert not any(isinstance(x, layers.AngularSelfAttention) for x in model._flatten_layers())
    theirs = {w.path: keras.ops.convert_to_numpy(w) for w in model.weights}
    ours = {w.path: keras.ops.convert_to_numpy(w) for w in castled.weights}
    fresh = set(ours) - set(theirs)
    filters = {path for path in fresh if path.endswith("local/kernel")}
    assert {ours[path].shape[0] for path in filters} == {3}
    for path in fresh - filters:  # where `use_bias=False`
        assert path.endswith("attention_output/bias")
        assert not ours[path].any()
    assert set(theirs) < set(ours)
    for path, array in theirs.items():
        np.testing.assert_array_equal(ours[path].ravel(), array.ravel())
    attention = next(x for x in castled._flatten_layers() if "Angular" in type(x).__name__)
    assert attention.query_dense.kernel.shape == (8, 8)
    assert attention.threshold == 0.05

    path = tmp_path / "model.keras"
    castled.compile("sgd", "mse")
    castled.train_on_batch(X, np.zeros(castled.compute_output_shape(X.shape)))
    assert None not in keras_paca.train.mask_densities(castled).values()
    castled.save(path)
    loaded = keras.saving.load_model(path)
    assert type(loaded) is type(castled)
    wanted = castled(X)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (loaded(X), wanted)))
    assert error(keras_paca.fuse(castled)(X), wanted) < 1e-5

    keras_paca.finish_castling(loaded, force=True)
    again = type(loaded).from_config(loaded.get_config())
    for other in (loaded, again):
        assert not any("auxiliary" in variable.path for variable in other.variables)
        with pytest.raises(ValueError, match="can't get one"):
            other.auxiliary = True
        assert not other.auxiliary


@slow_but_on_torch
def test_the_attention_is_that_of_the_weights():
    model = model_of("graph")
    castled = keras_paca.castle(model, zero_filters=True)
    theirs, ours = model.layers[1], layers.LinearAngularAttention(2)
    ours.build(X.shape)
    for name in ("query_dense", "key_dense", "value_dense", "output_dense"):
        kernel = keras.ops.convert_to_numpy(getattr(theirs, name).kernel)
        getattr(ours, name).kernel.assign(kernel.reshape(8, 8))
    ours.local.kernel.assign(np.zeros((9, 1, 2, 1)))
    assert error(castled(X), ours(X)) < 1e-6


@slow_but_on_torch
def test_around_a_castled_model(tmp_path):
    """Inside another model, which may be castled itself, and copied."""
    inputs = keras.Input((9, 8))
    castled = keras_paca.castle(model_of("blocks"), convolution="grid", kernel_size=3)
    outer = keras.Model(inputs, attend(castled(inputs)))
    twice = keras_paca.castle(outer)
    assert not any(isinstance(x, keras.layers.MultiHeadAttention) for x in twice._flatten_layers())
    for model in (outer, twice):
        model.save(tmp_path / "outer.keras")
        loaded = keras.saving.load_model(tmp_path / "outer.keras")
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (loaded(X), model(X))))
    kinds = {x.convolution for x in loaded._flatten_layers() if hasattr(x, "mask_density")}
    assert kinds == {"grid", "tokens"}
    # nothing is left behind
    assert "__new__" not in vars(keras.layers.MultiHeadAttention)
    assert type(keras.layers.MultiHeadAttention(2, 4)) is keras.layers.MultiHeadAttention


@slow_but_on_torch
def test_policies_and_frozen_layers():
    inputs = keras.Input((9, 8))
    model = keras.Model(inputs, Block(2, name="block", dtype="mixed_bfloat16")(inputs))
    model.get_layer("block").parts[1].trainable = False
    castled = keras_paca.castle(model)
    first, second = castled.get_layer("block").parts
    assert first.dtype_policy.name == first.query_dense.dtype_policy.name == "mixed_bfloat16"
    assert first.trainable
    assert not second.trainable
    assert not second.query_dense.trainable


REFUSED = {
    "no attention": (lambda x: keras.layers.Dense(8)(x), "must have a `keras.layers.Multi"),
    "two inputs": (
        lambda x: keras.layers.MultiHeadAttention(2, 4)(x, keras.layers.Dense(8)(x)),
        "must be the same tensor",
    ),
    "scores": (lambda x: attend_for_scores(x), "Received: return_attention_scores"),
    "causal": (
        lambda x: keras.layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True),
        "Received: use_causal_mask",
    ),
    "channels": (
        lambda x: keras.layers.MultiHeadAttention(2, 3)(x, x),
        "as many channels together.*key_dim=3, 8 channels",
    ),
    "values": (lambda x: attend(x, value_dim=5), "key_dim=4, value_dim=5"),
    "outputs": (lambda x: attend(x, output_shape=6), "has no `output_shape`"),
    "regularizer": (lambda x: attend(x, kernel_regularizer="l2"), "has no `kernel_regularizer`"),
    "subclass": (lambda x: Own(2, 4)(x, x), "A subclass of `keras.layers.MultiHeadAttention`"),
}


class Own(keras.layers.MultiHeadAttention):
    """Somebody's."""


def attend_for_scores(x):
    return keras.layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)[0]


@slow_but_on_torch
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, message = REFUSED[name]
    inputs = keras.Input((9, 8))
    model = keras.Model(inputs, build(inputs))
    with pytest.raises(ValueError, match=message):
        keras_paca.castle(model)
    assert "__new__" not in vars(keras.layers.MultiHeadAttention)


@slow_but_on_torch
def test_refused_models_and_options():
    model = model_of("graph")
    with pytest.raises(ValueError, match="`kernel_size` must be odd"):
        keras_paca.castle(model, kernel_size=2)
    with pytest.raises(ValueError, match="call it on data once"):
        keras_paca.castle(keras.Sequential([keras.layers.Dense(2)]))
    model.layers[1].query_dense.quantize("int8")
    with pytest.raises(ValueError, match="Convert first and quantize then"):
        keras_paca.castle(model)
    inputs = keras.Input((9, 8))
    dropping = keras.Model(inputs, attend(inputs, dropout=0.1))
    with pytest.warns(KerasPaCaWarning, match="no dropout of them"):
        keras_paca.castle(dropping)
