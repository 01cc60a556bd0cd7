"""Image folders and fine-tuning."""

import csv

import keras
import numpy as np
import pytest

from keras_paca.train import ImageFolder, find_images, fine_tune, split_files
from tests.data import save_bright_and_dark
from tests.marks import slow_but_on_torch


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
