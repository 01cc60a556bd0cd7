"""What training computes again in the backward pass: the same gradients, from the same draws."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.layers import ConvClustering, DropPath, InvertedResidual, PaCaBlock
from keras_paca.ops.recompute import is_recomputed, recompute
from tests.marks import slow_but_on_torch

BACKEND = keras.backend.backend()
LABELS = np.array([0, 1, 2, 3])


def blocks(
    remat=False,
    drop_path_rate=0.5,
    dropout=0.0,
    dtype=None,
    size=(6, 5, 8),
    count=2,
    recompute_activations=True,
):
    """Return a model whose later blocks reuse the first one's assignment."""
    options = {
        "drop_path_rate": drop_path_rate,
        "attention_dropout": dropout,
        "dropout": dropout,
        "remat": remat,
        "recompute_activations": recompute_activations,
        "dtype": dtype,
    }
    inputs = keras.Input(size)
    x, assignment = PaCaBlock(2, ConvClustering(4, 3, dtype=dtype), **options)(inputs)
    for _ in range(count - 1):
        x, assignment = PaCaBlock(2, **options)(x, assignment)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype=dtype)(x)
    return keras.Model(inputs, keras.layers.Dense(4, dtype=dtype)(x))


@pytest.fixture
def maps(images):
    return images(4, 6, 5, 8) / 255


def train(model, x, steps):
    """Return what steps of SGD add to each weight: minus the gradients, for one step."""
    model.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    before = model.get_weights()
    data = np.concatenate([x] * steps), np.concatenate([LABELS] * steps)
    model.fit(*data, batch_size=len(x), shuffle=False, verbose=0)
    return [after - start for after, start in zip(model.get_weights(), before, strict=True)]


def relative_error(found, expected):
    difference = sum(np.square(a - b).sum() for a, b in zip(found, expected, strict=True))
    return np.sqrt(difference / sum(np.square(b).sum() for b in expected))


def seeds(model):
    """Return the states of the random generators."""
    weights = {id(w) for w in model.weights}
    return [ops.convert_to_numpy(w) for w in model.variables if id(w) not in weights]


def test_remat_gives_the_same_gradients(maps):
    updates, states = {}, {}
    for remat in (False, True):
        keras.utils.set_random_seed(3)  # of the weights, too
        model = blocks(remat=remat, dropout=0.2)
        updates[remat] = train(model, maps, steps=1)
        train(model, maps, steps=2)
        states[remat] = seeds(model)
    assert relative_error(updates[True], updates[False]) < 1e-6
    if BACKEND != "torch":  # where unseeded layers draw from PyTorch's own generator
        assert any(state[1] > 0 for state in states[False])
    for state, expected in zip(states[True], states[False], strict=True):
        np.testing.assert_array_equal(state, expected)


def test_remat_draws_anew_in_each_step(maps):
    keras.utils.set_random_seed(1)
    model = blocks(remat=True)
    first, second = (ops.convert_to_numpy(model(maps, training=True)) for _ in range(2))
    assert not np.allclose(first, second)


def test_recomputed_activations_give_the_same_gradients(maps):
    """Nothing but what is held differs from plain calls, which `recompute_activations` has."""
    found = {}
    for recomputes in (True, False):
        keras.utils.set_random_seed(3)
        model = blocks(dropout=0.2, recompute_activations=recomputes)
        found[recomputes] = train(model, maps, steps=1)
    assert relative_error(found[True], found[False]) < 1e-6


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of GradientTape outside tf.function")
@pytest.mark.parametrize("remat", [False, True])
def test_gradients_outside_a_graph(remat, maps):
    """A loop of one's own may run eagerly, where `keras.remat` counts gradients twice."""
    import tensorflow as tf

    model = blocks(drop_path_rate=0.0, remat=remat)

    def gradients(training):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(maps, training=training) ** 2)
        return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_what_is_recomputed_can_be_switched_off(maps, monkeypatch):
    calls = []
    for name in ("keras_paca.ops", "keras_paca.ops.attention"):
        record = lambda layers, function, *x: (calls.append(layers), function(*x))[1]  # noqa: E731
        monkeypatch.setattr(f"{name}.recompute", record)
    for recomputes in (False, True):
        assert not calls
        blocks(recompute_activations=recomputes)(maps, training=True)
    # in each of the two blocks the feed-forward network, and the weights but for PyTorch's kernel
    assert len(calls) == (2 if BACKEND == "torch" else 4)
    with pytest.raises(ValueError, match='must be "activation", "depthwise" or'):
        is_recomputed("softmax")


@slow_but_on_torch
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_remat_in_mixed_precision(policy, maps):
    updates = train(blocks(remat=True, dtype=policy), maps, steps=1)
    assert all(np.isfinite(update).all() for update in updates)
    assert all(update.any() for update in updates[:2])


def test_recompute_inside_recompute(images):
    """The inner part is not computed a third time, and draws once."""
    calls = []
    layer = DropPath(0.5, seed=1)
    x = ops.convert_to_tensor(images(4, 2, 2, 3))

    def inner(y):
        calls.append("inner")
        return layer(y, training=True)

    found = recompute([layer], lambda y: recompute([layer], inner, y), x)
    assert calls == ["inner"]
    again = DropPath(0.5, seed=1)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(found), ops.convert_to_numpy(again(x, training=True))
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer.seed_generator.state.value),
        ops.convert_to_numpy(again.seed_generator.state.value),
    )


def test_what_the_function_assigns(images):
    """Moving statistics move once for each call, also where gradients make it run again."""
    x = images(4, 6, 5, 3)
    found = []
    for wrap in (False, True):
        keras.utils.set_random_seed(0)
        block = InvertedResidual(remat=wrap, drop_path_rate=0.5)
        model = keras.Sequential([keras.Input((6, 5, 3)), block, keras.layers.Flatten()])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, np.zeros((4, 90)), epochs=2, batch_size=2, shuffle=False, verbose=0)
        found.append([ops.convert_to_numpy(weight) for weight in block.weights])
        assert not np.allclose(block.expand.norm.moving_mean, 0.0)
    for plain, recomputed in zip(*found, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-4, atol=1e-6)


def test_remat_holds_less(images):
    x = ops.convert_to_tensor(images(2, 32, 32, 8) / 255)
    options = {"size": (32, 32, 8), "count": 5}
    held = {remat: _held(blocks(remat=remat, **options), x) for remat in (False, True)}
    assert held[True] < 0.75 * held[False], held


def _held(model, x):
    """Return the bytes that a training step holds, as the backend counts them."""
    if BACKEND == "torch":
        import torch

        saved = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x, training=True)
        return sum(saved.values()) - sum(w.value.untyped_storage().nbytes() for w in model.weights)
    if BACKEND == "jax":
        import jax

        def loss(trainable, other):
            return ops.sum(model.stateless_call(trainable, other, x, training=True)[0])

        values = (
            [w.value for w in v] for v in (model.trainable_variables, model.non_trainable_variables)
        )
        compiled = jax.jit(jax.grad(loss)).lower(*values).compile()
        return compiled.memory_analysis().temp_size_in_bytes
    pytest.skip("TensorFlow tells no such number; benchmarks/bars.py measures it")


def test_automatic_jit_is_off_where_it_loses_and_on_request_works(maps):
    """Also in a model around the layers, as a detector would be."""
    model = keras.Sequential([keras.Input((6, 5, 8)), blocks(remat=True)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    on_a_gpu = BACKEND == "tensorflow" and keras.distribution.list_devices("gpu")
    assert model.jit_compile == (BACKEND == "jax" or bool(on_a_gpu))
    if BACKEND == "torch":
        return  # `jit_compile=True` is `torch.compile` there
    model.compile("sgd", loss, jit_compile=True)
    assert model.jit_compile
    history = model.fit(maps, LABELS, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.skipif(BACKEND != "jax", reason="Keras distributes over simulated devices on JAX")
def test_training_on_two_devices(maps):
    code = """
import keras, sys
import numpy as np
from tests.ops.test_recompute import blocks, losses
keras.distribution.set_distribution(keras.distribution.DataParallel())
maps = np.random.default_rng(0).uniform(0, 255, (4, 6, 5, 8)).astype("float32") / 255
print(*losses(maps, remat=True), len(keras.distribution.list_devices()))
"""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *found, devices = map(float, result.stdout.split())
    assert devices == 2
    np.testing.assert_allclose(found, losses(maps, remat=False), rtol=1e-5)


def losses(maps, remat):
    """Return the losses of three epochs of one step."""
    keras.utils.set_random_seed(0)
    model = blocks(remat=remat, drop_path_rate=0.0)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model.fit(maps, LABELS, epochs=3, verbose=0).history["loss"]
