"""Image folders and fine-tuning."""

import csv

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.train import (
    ImageFolder,
    best_accuracy,
    find_images,
    fine_tune,
    split_files,
)
from tests.data import Stream, save_bright_and_dark
from tests.marks import slow_but_on_torch
from tests.train.small import LABELS, VALUES, dense

HEADS = ("predictions", "distilled_predictions")


@pytest.fixture
def folder(tmp_path):
    """Two classes, dark and bright, ten pictures each."""
    return save_bright_and_dark(tmp_path / "data", 10, lambda i: (40 + i, 60))


def _data(folder):
    files, _ = find_images(folder)
    training, validation = split_files(files)
    common = {"classes": 2, "image_size": 32, "batch_size": 8}
    return ImageFolder(training, training=True, **common), ImageFolder(validation, **common)


def _log(output):
    with (output / "log.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_model_of_two_classifiers(folder, tmp_path):
    """The first phase trains both, and nothing else."""
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    model = keras_paca.RapidNet((8, 8, 8, 8), depths, embedding_dim=8, classes=2)
    before = {w.path: keras.ops.convert_to_numpy(w) for w in model.trainable_weights}
    accuracy = fine_tune(model, *_data(folder), tmp_path / "run", head_epochs=1, epochs=0)
    assert 0 <= accuracy <= 1
    changed = {
        w.path
        for w in model.trainable_weights
        if np.any(before[w.path] != keras.ops.convert_to_numpy(w))
    }
    assert changed == {w.path for name in HEADS for w in model.get_layer(name).weights}


@slow_but_on_torch
def test_fine_tune_freezes_unfreezes_and_keeps_the_best(folder, small, tmp_path):
    model = small(classes=2, depths=1, drop_path_rate=0.1)
    frozen = {w.path: keras.ops.convert_to_numpy(w) for w in model.layers[2].weights}
    seen = []

    class Watch(keras.callbacks.Callback):
        pass

    training, validation = _data(folder)
    original = model.fit

    def fit(*arguments, **keywords):
        seen.append([layer.trainable for layer in model.layers])
        result = original(*arguments, **keywords)
        if len(seen) == 1:
            for weight in model.layers[2].weights:
                np.testing.assert_array_equal(
                    keras.ops.convert_to_numpy(weight), frozen[weight.path]
                )
        return result

    model.fit = fit
    best = fine_tune(
        model, training, validation, tmp_path / "run", head_epochs=1, epochs=3,
        learning_rate=3e-3, verbose=0,
    )  # fmt: skip
    assert [sum(states) for states in seen] == [1, len(model.layers)]
    rows = _log(tmp_path / "run")
    assert [row["phase"] for row in rows] == ["head", "whole", "whole", "whole"]
    assert best == max(float(row["val_accuracy"]) for row in rows)
    kept = keras.saving.load_model(tmp_path / "run" / "best.keras")
    kept.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = kept.evaluate(validation, verbose=0)
    assert accuracy == pytest.approx(best)
    assert not list((tmp_path / "run").glob("partial*"))


@slow_but_on_torch
def test_recipe(folder, small, tmp_path):
    """AdamW that spares norms and biases, a cosine from a warm-up, soft labels, a faster head."""
    model = small(classes=2, depths=1)
    training, validation = _data(folder)
    seen = []
    model.fit = lambda *arguments, **keywords: seen.append((model.optimizer, model.loss))
    fine_tune(model, training, validation, tmp_path, head_epochs=5, epochs=20, learning_rate=1e-3)
    for (optimizer, loss), highest, steps in zip(seen, (1e-2, 1e-3), (10, 40), strict=True):
        assert isinstance(optimizer, keras.optimizers.AdamW)
        rates = [float(optimizer._learning_rate(step)) for step in range(steps + 1)]
        np.testing.assert_allclose([rates[0], max(rates)], [0, highest])
        assert rates.index(max(rates)) == steps // 10
        assert rates[-1] < highest * 1e-3
        assert optimizer.weight_decay == 0.05
        optimizer.build(model.trainable_variables)
        decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
        assert decayed == {"kernel"}
        assert loss.get_config()["label_smoothing"] == 0.1


@slow_but_on_torch
def test_best_of_a_model_around_the_backbone_is_free(folder, small, tmp_path):
    """Kept in the first phase, when the backbone is frozen."""
    backbone = small(include_top=False, pooling="avg")
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2, activation="softmax")(backbone(inputs))
    model = keras.Model(inputs, outputs)
    fine_tune(model, *_data(folder), tmp_path, head_epochs=1, epochs=0, verbose=0)
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert len(best.trainable_weights) == len(best.weights)


@slow_but_on_torch
def test_resumes_after_a_save_that_failed(folder, small, tmp_path, monkeypatch):
    """A disk that is full, or a process killed, in the middle of a save."""
    training, validation = _data(folder)
    settings = {"head_epochs": 0, "epochs": 2, "learning_rate": 1e-3, "verbose": 0}
    model = small(classes=2, depths=1)
    save, calls = keras.Model.save_weights, []

    def fail_at_the_second(self, path, *arguments):
        calls.append(path)
        save(self, path, *arguments)
        if len(calls) == 2:
            with open(path, "r+b") as stream:
                stream.truncate(1000)
            raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save_weights", fail_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        fine_tune(model, training, validation, tmp_path, **settings)
    monkeypatch.setattr(keras.Model, "save_weights", save)
    epochs = []
    watched = ImageFolder(training.files, 2, 32, 8, training=True)
    watched.on_epoch_end = lambda: epochs.append(watched.epoch)
    fine_tune(small(classes=2, depths=1), watched, validation, tmp_path, **settings)
    rows = _log(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "2"]
    assert epochs[-1] == 1  # what the second epoch draws
    names = sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".weights.h5"))
    assert names == ["whole_0002.weights.h5"]


@slow_but_on_torch
def test_resumes_after_interruption(folder, small, tmp_path):
    """Stopped in the second phase, a second call goes on where the first was."""
    training, validation = _data(folder)

    class Stop(Exception):
        pass

    class Stopping(ImageFolder):
        """Fails in the evaluation that ends the second epoch of the second phase."""

        def __getitem__(self, index):
            if (output / "log.csv").exists() and len(_log(output)) == 2:
                raise Stop("stopped here")
            return super().__getitem__(index)

    output = tmp_path / "run"
    settings = {"head_epochs": 1, "epochs": 3, "learning_rate": 1e-3, "verbose": 0}
    stopping = Stopping(validation.files, classes=2, image_size=32, batch_size=8)
    with pytest.raises(Exception, match="stopped here"):  # TensorFlow wraps it
        fine_tune(small(classes=2, depths=1), training, stopping, output, **settings)
    assert [row["phase"] for row in _log(output)] == ["head", "whole"]
    model = small(classes=2, depths=1)
    fine_tune(model, training, validation, output, **settings)
    rows = _log(output)
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("head", "1"), ("whole", "1"), ("whole", "2"), ("whole", "3"),
    ]  # fmt: skip
    assert model.optimizer.iterations == 3 * len(training)
    before = (output / "best.keras").stat().st_mtime_ns
    fine_tune(
        small(classes=2, depths=1), training, validation, output, **settings
    )  # nothing left to do
    assert len(_log(output)) == 4
    assert (output / "best.keras").stat().st_mtime_ns == before


ONE_PHASE = {"head_epochs": 0, "verbose": 0}


def _files(output):
    return sorted(path.name for path in output.iterdir())


class Breaking(Stream):
    """Gives NaN while `broken` says so."""

    broken = staticmethod(lambda: False)

    def __getitem__(self, index):
        values, labels = super().__getitem__(index)
        return (values * np.nan if self.broken() else values), labels


@slow_but_on_torch
@pytest.mark.parametrize("where", ["training", "validation"])
def test_training_that_diverges_stops_and_keeps_what_was_before(where, tmp_path):
    """In validation alone shows what the last step of an epoch did."""
    data = {name: Breaking((VALUES, LABELS)) for name in ("training", "validation")}
    data["training"].epoch = 0
    data[where].broken = lambda: data["training"].epoch == 1
    words = (
        r"whole model diverged: the loss became nan in epoch 2, .* kept in .*best\.keras\. Choose"
    )
    with pytest.raises(ValueError, match=words):
        fine_tune(dense(), **data, output=tmp_path, epochs=3, **ONE_PHASE)
    assert _files(tmp_path) == ["best.keras", "log.csv", "whole_0001.weights.h5"]
    assert [row["epoch"] for row in _log(tmp_path)] == ["1"]
    data[where].broken = lambda: False
    fine_tune(dense(), **data, output=tmp_path, epochs=3, **ONE_PHASE)
    rows = _log(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(np.isfinite(float(row["val_loss"])) for row in rows)


@slow_but_on_torch
def test_a_learning_rate_that_is_too_high(tmp_path):
    model, data = dense(), Stream(*[(VALUES, LABELS)] * 4)
    with pytest.raises(ValueError, match=r"Training the head alone diverged: .*learning rate"):
        fine_tune(model, data, data, tmp_path, head_epochs=5, learning_rate=1e30, verbose=0)
    assert all(layer.trainable for layer in model.layers)
    for path in tmp_path.glob("*.weights.h5"):
        model.load_weights(path)
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


@slow_but_on_torch
@pytest.mark.parametrize("name", ["training", "validation"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "be a data set .* Received: .*=None"),
        ("photos", "be a data set .* Received: .*='photos'"),
        ((each for each in [(VALUES, LABELS)]), "and with a length"),
        ([(VALUES, LABELS)], "be a data set"),
        (Stream(), "of one batch or more"),
        (Stream(VALUES), r"give batches \(images, one-hot labels\)"),
        (Stream((VALUES, LABELS.argmax(1))), r"labels \(batch, 2\).* labels of shape \(8,\)"),
        (Stream((VALUES, np.eye(3)[[0] * 8])), r"model's classes. Received: .* \(8, 3\)"),
    ],
)
def test_data_that_can_not_be_learned_from(name, data, words, tmp_path):
    both = {"training": Stream((VALUES, LABELS)), "validation": Stream((VALUES, LABELS))}
    with pytest.raises(ValueError, match=f"^`{name}` must .*{words}"):
        fine_tune(dense(), **{**both, name: data}, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@slow_but_on_torch
def test_models_that_can_not_be_tuned(small, tmp_path):
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.dense = keras.layers.Dense(units)

        def call(self, inputs):
            return self.dense(inputs)

    data = Stream((VALUES, LABELS))
    model = Subclassed(2)
    model(VALUES)
    with pytest.raises(
        ValueError, match="`model` must be one that can be copied from its configuration"
    ):
        fine_tune(model, data, data, tmp_path / "run")
    with pytest.raises(ValueError, match="`model` must be a classifier, whose outputs are"):
        fine_tune(small(include_top=False), data, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@slow_but_on_torch
def test_half_a_line_of_the_log_is_dropped(tmp_path):
    """What a process that was killed while it wrote may leave."""
    data = Stream((VALUES, LABELS))
    fine_tune(dense(), data, data, tmp_path, epochs=2, **ONE_PHASE)
    log = tmp_path / "log.csv"
    whole = log.read_bytes()
    for half in (whole[:5], whole[:-1], whole + whole.splitlines(True)[1][:9]):
        log.write_bytes(half)
        kept = half[: half.rfind(b"\n") + 1]
        best_accuracy(tmp_path)
        (tmp_path / "whole_0002.weights.h5").rename(tmp_path / "whole_0001.weights.h5")
        fine_tune(dense(), data, data, tmp_path, epochs=2, **ONE_PHASE)
        rows = _log(tmp_path)
        assert len(rows) == max(kept.count(b"\n") - 1, 0) + 1
        assert rows[-1]["epoch"] == "2"
        assert None not in rows[-1].values()
        assert log.read_bytes().startswith(kept)


@slow_but_on_torch
def test_a_log_of_something_else_is_named(tmp_path):
    data = Stream((VALUES, LABELS))
    (tmp_path / "log.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(ValueError, match=r"log\.csv must hold a number as val_accuracy"):
        fine_tune(dense(), data, data, tmp_path)


@slow_but_on_torch
def test_a_log_of_an_earlier_version_goes_on(tmp_path):
    """It didn't tell which models were kept."""
    data = Stream((VALUES, LABELS))
    fine_tune(dense(), data, data, tmp_path, epochs=1, **ONE_PHASE)
    (tmp_path / "log.csv").write_text("epoch,phase,val_accuracy\n1,whole,2.0\n")
    assert fine_tune(dense(), data, data, tmp_path, epochs=2, **ONE_PHASE) == 2.0
    assert [list(row) for row in _log(tmp_path)] == [["epoch", "phase", "val_accuracy"]] * 2


@slow_but_on_torch
def test_a_damaged_state_is_named(tmp_path):
    data = Stream((VALUES, LABELS))
    fine_tune(dense(), data, data, tmp_path, epochs=1, **ONE_PHASE)
    state = tmp_path / "whole_0001.weights.h5"
    state.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"whole_0001\.weights\.h5, can't be loaded.* Delete that"):
        fine_tune(dense(), data, data, tmp_path, epochs=2, **ONE_PHASE)
    state.unlink()
    fine_tune(dense(), data, data, tmp_path, epochs=2, **ONE_PHASE)
    assert [row["epoch"] for row in _log(tmp_path)] == ["1", "1", "2"]


@slow_but_on_torch
def test_a_best_model_that_was_moved_away_is_kept_anew(tmp_path):
    """And what is said of it is its own accuracy, not the one of the model that was moved."""
    half = Stream((VALUES, LABELS))  # of the class that the model always gives
    model = dense()
    model.layers[-1].set_weights([np.zeros((3, 2), "float32"), np.array([1, 0], "float32")])
    data = Stream((VALUES, np.eye(2, dtype="float32")[[0] * 8]))
    settings = {"learning_rate": 1e-6, **ONE_PHASE}
    assert fine_tune(model, data, data, tmp_path, epochs=1, **settings) == 1.0
    (tmp_path / "best.keras").unlink()
    assert fine_tune(dense(), data, half, tmp_path, epochs=2, **settings) == 0.5
    keras.saving.load_model(tmp_path / "best.keras")
    assert fine_tune(dense(), data, half, tmp_path, epochs=2, **settings) == 0.5
    assert fine_tune(dense(), data, data, tmp_path, epochs=3, **settings) == 1.0
    assert [row["kept"] for row in _log(tmp_path)] == ["True", "True", "True"]


@slow_but_on_torch
def test_the_head_learns_alone_beside_layers_that_train_in_frozen_ones(small, tmp_path):
    """Also where a frozen layer around them is frozen once more, which TensorFlow passes over."""
    frozen = {"frozen": ["stage1_block1"], "thawed": ["stage1_block1/attention"]}
    model = small(classes=2, depths=1, **frozen)
    batch = np.zeros((2, 32, 32, 3), "float32"), np.eye(2, dtype="float32")
    found = {}

    def stop(phase, done, count):
        found[phase] = [weight.path for weight in model.trainable_weights]
        raise InterruptedError

    for epochs in (1, 0):
        with pytest.raises(InterruptedError):
            fine_tune(model, Stream(batch), Stream(batch), tmp_path / f"{epochs}",
                      head_epochs=epochs, epochs=1, on_phase=stop)  # fmt: skip
    assert found["head"] == [weight.path for weight in model.layers[-1].weights]
    assert found["whole"] == [weight.path for weight in model.trainable_weights]
    attention = [path for path in found["whole"] if path.startswith("stage1_block1/")]
    assert attention
    assert all(path.startswith("stage1_block1/attention/") for path in attention)
