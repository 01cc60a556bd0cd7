"""The heads that read and write tokens: Keras's own checks, and the official formulas."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca import layers
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch
from tests.reference import read_write_heads as reference

HEADS = {  # class, arguments, trainable weights
    "linear": (layers.LinearCrossAttention, {"num_heads": 2, "latent_size": 4}, 6),
    "cross_attention": (layers.CrossAttention, {"num_heads": 2}, 8 + 6),
    "latent_attention": (layers.LatentAttention, {"latent_size": 3, "bottleneck_size": 5}, 8 + 4),
    "latent_cross_attention": (
        layers.LatentCrossAttention,
        {"num_heads": 2, "latent_size": 6},
        8 + 6,
    ),
    "token_learner": (layers.TokenLearner, {"tokens": 6, "bottleneck_size": 5}, 4 + 2),
}
each_head = pytest.mark.parametrize("name", HEADS)
# The published head on each backend, the others where it is fastest.
linear_first = pytest.mark.parametrize(
    "name", ["linear", *(pytest.param(name, marks=slow_but_on_torch) for name in list(HEADS)[1:])]
)


def built(name, **options):
    """Return a layer with random weights, and those by the names of the layers inside."""
    cls, given, _ = HEADS[name]
    layer = cls(**given, **options)
    layer.build((2, 4, 5, 8), (2, 2, 3, 8))
    randomise(layer)
    found = {}
    for weight in layer.weights:
        path = weight.path.rpartition("/")[0].removeprefix(f"{layer.name}/")
        found.setdefault(path, []).append(ops.convert_to_numpy(weight).astype("float64"))
    return layer, found


def maps():
    """Return the map that is read and the one whose tokens read it."""
    draw = np.random.default_rng(1)
    return draw.normal(size=(2, 4, 5, 8)), draw.normal(size=(2, 2, 3, 8))


@linear_first
def test_run_layer_test(name):
    cls, options, trainable = HEADS[name]
    shapes = {"inputs_shape": (2, 4, 5, 8), "query_shape": (2, 2, 3, 8)}
    run_layer_test(cls, options, shapes, (2, 2, 3, 8), trainable, run_training_check=False)


@each_head
def test_formula(name):
    layer, weights = built(name)
    given, query = maps()
    arrays = [x.astype("float32") for x in (given, query)]
    found, shown = layer(*arrays), layer.reading_weights(*arrays)
    tokens = given.reshape(2, 20, 8), query.reshape(2, 6, 8)
    wanted, by_head = getattr(reference, name)(*tokens, weights, getattr(layer, "num_heads", 1))
    np.testing.assert_allclose(
        ops.convert_to_numpy(found).reshape(2, 6, 8), wanted, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(shown), np.stack(by_head, 1), rtol=1e-4, atol=1e-6
    )
    if name != "token_learner":
        np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(shown, -1)), 1, rtol=1e-4)


@slow_but_on_torch
@each_head
def test_unknown_sizes(name):
    """The weights, too, are ordinary outputs of a functional model."""
    layer, _ = built(name)
    inputs = keras.Input((None, None, 8)), keras.Input((None, None, 8))
    model = keras.Model(inputs, [layer(*inputs), layer.reading_weights(*inputs)])
    given = [x.astype("float32") for x in maps()]
    found = model.predict(given, verbose=0)
    np.testing.assert_allclose(found[0], ops.convert_to_numpy(layer(*given)), rtol=1e-4, atol=1e-5)
    assert found[1].shape[-2:] == (6, 20)


@linear_first
def test_half_precision(name):
    """Sums over very many tokens don't overflow."""
    if name == "token_learner":
        pytest.skip("its number of tokens is fixed")
    layer, _ = built(name, dtype="mixed_float16")
    given = np.random.default_rng(0).uniform(3, 4, (1, 200, 200, 8)).astype("float32")
    outputs = layer(given, given[:, :2, :3])
    assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert np.isfinite(ops.convert_to_numpy(outputs)).all()
    shown = layer.reading_weights(given[:, :50], given[:, :2, :3])
    assert keras.backend.standardize_dtype(shown.dtype) == "float32"


def test_wrong_arguments():
    for cls in (layers.LinearCrossAttention, layers.LatentCrossAttention):
        with pytest.raises(ValueError, match="must divide `latent_size`"):
            cls(num_heads=3, latent_size=4)
    for name in ("linear", "cross_attention", "latent_cross_attention"):
        cls, options, _ = HEADS[name]
        with pytest.raises(ValueError, match="divide the channels of the input"):
            cls(**options).build((1, 4, 4, 7), (1, 2, 2, 7))
    with pytest.raises(ValueError, match="`epsilon` must be a finite number of at least 0"):
        layers.LinearCrossAttention(2, 4, epsilon=-1)
    with pytest.raises(ValueError, match=r"`dropout` must lie in \[0, 1\)"):
        layers.TokenLearner(6, dropout=3)
    with pytest.raises(ValueError, match="made for maps of 6 tokens"):
        layers.TokenLearner(6).build((1, 4, 4, 8), (1, 2, 2, 8))
    layer, _ = built("token_learner")
    with pytest.raises(ValueError, match="made for maps of 6 tokens"):
        layer(np.zeros((1, 4, 4, 8)), np.zeros((1, 2, 2, 8)))


@each_head
@pytest.mark.parametrize(
    ("given", "query", "words"),
    [
        ((2, 4, 5, 8), (2, 2, 3, 6), "maps of the same number of channels"),
        ((2, 4, 5, 6), (2, 2, 3, 8), "maps of the same number of channels"),
        ((2, 20, 8), (2, 2, 3, 8), r"maps \(batch, height, width, channels\)"),
        ((2, 4, 5, 8), (2, 6, 8), r"maps \(batch, height, width, channels\)"),
    ],
)
def test_maps_that_do_not_fit(name, given, query, words):
    cls, options, _ = HEADS[name]
    with pytest.raises(ValueError, match=words):
        cls(**options)(np.zeros(given, "float32"), np.zeros(query, "float32"))
