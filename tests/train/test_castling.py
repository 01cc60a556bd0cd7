"""The schedule of castling, and the end of the auxiliary."""

import json
import zipfile

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import layers
from keras_paca.train import CastlingSchedule, finish_castling, mask_densities
from keras_paca.warn import KerasPaCaWarning
from tests.inference.compare import randomise
from tests.marks import slow_but_on_torch


@keras.saving.register_keras_serializable(package="test_castling")
class Block(layers.PaCaBlock.__base__):
    """A block that passes the argument on, as a family's blocks do."""

    def __init__(self, auxiliary=True, **kwargs):
        super().__init__(**kwargs)
        self.auxiliary = auxiliary
        self.attention = self.make(
            layers.LinearAngularAttention, "attention", 2, auxiliary=auxiliary
        )

    def build(self, input_shape):
        self.attention.build(input_shape)

    def call(self, x, training=False):
        return x + self.attention(x, training=training)


def small(**options):
    inputs = keras.Input((9, 8))
    x = Block(name="block", **options)(inputs)
    x = layers.LinearAngularAttention(2, name="attention", **options)(x)
    return randomise(keras.Model(inputs, x))


def data(count=8):
    x = np.random.default_rng(0).normal(size=(count, 9, 8)).astype("float32")
    return x, x[::-1].copy()


class Watch(keras.callbacks.Callback):
    """Keeps the threshold with which each step ran."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(self.model.get_layer("attention").threshold)


def test_fit():
    """Held, raised, and switched off; the densities follow, in one compiled step."""
    model, (x, y), watch = small(), data(), Watch()
    calls = []
    layer = model.get_layer("attention")
    original = type(layer).call

    def call(self, *args, **kwargs):
        calls.append(kwargs.get("training"))
        return original(self, *args, **kwargs)

    model.compile(keras.optimizers.SGD(1e-4), "mse")
    schedule = CastlingSchedule(start=0.5, end=0.9)
    weights = [w.path for w in model.weights]
    type(layer).call = call
    try:
        history = model.fit(
            x, y, batch_size=2, epochs=5, verbose=0, callbacks=[watch, schedule]
        ).history
    finally:
        type(layer).call = original
    assert len(watch.seen) == 20
    assert set(watch.seen[:10]) == {0.02}  # step 9 of 19 is before the half
    assert 0.02 < watch.seen[12] < watch.seen[15] < 1
    assert watch.seen[18:] == [1.0, 1.0]
    assert history["castling_threshold"][-1] == 1
    for path in ("block/attention", "attention"):
        densities = history[f"mask_density/{path}"]
        assert 0.3 < densities[0] <= 1
        assert densities[-1] == 0
    assert not layer.auxiliary
    assert not model.get_layer("block").auxiliary
    assert [w.path for w in model.weights] == weights
    traced = [training for training in calls if training]
    assert len(traced) <= (6 if keras.backend.backend() != "torch" else 41)  # no new step compiled
    model.fit(x, y, batch_size=2, verbose=0)  # trains on, without it


@slow_but_on_torch
def test_files_and_fused_models_hold_none(tmp_path):
    model = finish_castling(small(), force=True)
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        configs = json.loads(archive.read("config.json"))["config"]["layers"][1:]
    assert [layer["config"]["auxiliary"] for layer in configs] == [False, False]
    loaded = keras.saving.load_model(path)
    x, _ = data()
    wanted = keras.ops.convert_to_numpy(model(x))
    for other in (loaded, keras_paca.fuse(model)):
        attention = [a for a in other._flatten_layers() if hasattr(a, "mask_density")]
        assert len(attention) == 2
        assert not any(layer.auxiliary for layer in attention)
        assert not any("auxiliary" in v.path for v in other.variables)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(x)), wanted)
    found = keras.ops.convert_to_numpy(keras_paca.fuse(model)(x))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@slow_but_on_torch
def test_refused_unless_forced():
    model, (x, y) = small(), data()
    with pytest.raises(ValueError, match="block/attention: not trained yet, attention: not"):
        finish_castling(model)
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    with pytest.raises(ValueError, match=r"at most 0.001 .* Received: block/attention: (1|0\.)"):
        finish_castling(model)
    assert all(density > 0.5 for density in mask_densities(model).values())
    assert finish_castling(model, force=True) is model
    assert mask_densities(model) == {}
    assert finish_castling(model) is model  # again
    with pytest.raises(ValueError, match="must have a `LinearAngularAttention`"):
        finish_castling(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))


@slow_but_on_torch
def test_stopped_early():
    """The history isn't lost: a warning instead of an error."""
    model, (x, y) = small(), data()

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model.compile("sgd", "mse")
    with pytest.warns(KerasPaCaWarning, match="The auxiliary stays on. .*force=True"):
        history = model.fit(x, y, epochs=9, verbose=0, callbacks=[Stop(), CastlingSchedule()])
    assert len(history.epoch) == 1
    assert model.get_layer("attention").auxiliary
    for options in ({"force": True}, {"switch": False}):
        schedule = CastlingSchedule(**options)
        model.fit(x, y, epochs=9, verbose=0, callbacks=[Stop(), schedule])
        assert model.get_layer("attention").auxiliary is ("switch" in options)
        model = small()
        model.compile("sgd", "mse")


@slow_but_on_torch
def test_resumed():
    """`initial_epoch` goes on where the schedule was."""
    model, (x, y), watch = small(), data(), Watch()
    model.compile("sgd", "mse")
    model.fit(x, y, 4, epochs=10, initial_epoch=9, verbose=0, callbacks=[watch, CastlingSchedule()])
    assert 0.7 < watch.seen[0] < 1
    assert watch.seen[-1] == 1


@slow_but_on_torch
def test_unknown_number_of_steps():
    model, (x, y) = small(), data()

    def batches():
        for i in range(0, 8, 4):
            yield x[i : i + 4], y[i : i + 4]

    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="give `fit` the argument `steps_per_epoch`"):
        model.fit(batches(), verbose=0, callbacks=[CastlingSchedule()])

    def forever():
        while True:
            yield from batches()

    watch = Watch()
    schedule = CastlingSchedule(start=0.5, end=0.9)
    model.fit(forever(), steps_per_epoch=2, epochs=4, verbose=0, callbacks=[watch, schedule])
    assert watch.seen[:4] == [0.02] * 4
    assert watch.seen[-1] == 1


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2}, "`threshold` must lie in"),
        ({"start": -0.1}, "`start` must lie in"),
        ({"start": 0.9, "end": 0.8}, "`end` must not be below `start`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CastlingSchedule(**options)


@slow_but_on_torch
def test_a_model_without_the_auxiliary():
    model, (x, y) = small(auxiliary=False), data()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`auxiliary=True`"):
        model.fit(x, y, verbose=0, callbacks=[CastlingSchedule()])


def test_two_layers_of_one_name():
    class Two(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="two")
            self.parts = [layers.LinearAngularAttention(2, name="att") for _ in range(2)]

        def call(self, inputs, training=None):
            for part in self.parts:
                inputs = part(inputs, training=training)
            return inputs

    model = keras.Sequential([keras.Input((9, 8)), Two()])
    assert list(mask_densities(model)) == ["two/att", "two/att'"]
    model.compile("sgd", "mse")
    x = np.ones((4, 9, 8), "float32")
    history = model.fit(x, x, batch_size=2, epochs=4, verbose=0, callbacks=[CastlingSchedule()])
    assert history.history["mask_density/two/att'"][-1] == 0
    assert not any(part.auxiliary for part in model.layers[0].parts)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras executes one at a time")
@pytest.mark.parametrize("epochs", [3, 6])
def test_steps_that_are_executed_at_once_have_the_threshold_of_the_last(epochs):
    layer = layers.LinearAngularAttention(2, name="att")
    model = keras.Sequential([keras.Input((9, 8)), layer])
    model.compile("sgd", "mse", steps_per_execution=4)
    x = np.ones((8, 9, 8), "float32")
    schedule = CastlingSchedule()
    found = model.fit(x, x, batch_size=1, epochs=epochs, verbose=0, callbacks=[schedule]).history
    assert found["castling_threshold"][-1] == 1
    assert found["castling_threshold"][0] == 0.02
    assert not layer.auxiliary
