"""`keras-paca train`: runs that go on, what they keep, models that are trained further."""

import csv
import json
import os
import shutil
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_paca
from keras_paca import cli
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture
def train(run, folder, model_file, tmp_path):
    """Return a function that trains a small model for an epoch, unless told otherwise."""
    start = model_file(class_names=None, name="start.keras")

    def call(*options, data=folder, output="run"):
        command = ["train", data, "--output", tmp_path / output, "--model", start]
        command += ["--image-size", "32", "--batch-size", "16", "--head-epochs", "0"]
        return run(*command, "--epochs", "1", *options)

    return call


def test_train_and_predict_with_what_came_out(train, run, tmp_path):
    status, out, _ = train("--head-epochs", "1")
    assert status == 0
    assert "the head starts fresh" in out
    assert "phase 1 of 2, the head alone: 1 epochs" in out
    assert "phase 2 of 2, the whole model: 1 epochs" in out
    best = tmp_path / "run" / "best.keras"
    assert f"model in {best}" in out
    model = keras.saving.load_model(best)
    assert model.class_names == ["bright", "dark"]
    assert model.evaluation_transform == {"image_size": [32, 32], "crop": 0.9}
    moved = shutil.move(best, tmp_path / "moved.keras")
    status, out, _ = run("predict", tmp_path / "data" / "dark" / "0.png", "--model", moved)
    assert status == 0
    assert {line.split()[-1] for line in out.splitlines()[1:]} == {"bright", "dark"}


def test_more_epochs_go_on_with_a_finished_run(train, tmp_path):
    assert train()[0] == 0
    best = tmp_path / "run" / "best.keras"
    before = best.stat().st_mtime_ns
    status, out, _ = train()
    assert status == 0
    assert "already finished, after 1 epochs; nothing was trained" in out
    assert best.stat().st_mtime_ns == before
    status, out, _ = train("--epochs", "3")
    assert status == 0
    assert "going on after epoch 1 of 3" in out
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 4
    best.unlink()
    status, out, err = train("--epochs", "3")
    assert status == 1
    assert "isn't there" in err
    assert "model in" not in out


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--learning-rate", "0.1"), "--learning-rate was 0.0002 and is 0.1 now"),
        (("--seed", "3"), "--seed was 0 and is 3 now"),
        (("--image-size", "64"), "--image-size was 32 and is 64 now"),
    ],
)
def test_the_setting_that_differs_is_named(option, words, train, tmp_path):
    (tmp_path / "run").mkdir()
    assert train()[0] == 0
    status, _, err = train(*option)
    assert status == 1
    assert words in err
    assert err.count(" now") == 1


def test_other_images_are_another_run(train, folder, tmp_path):
    assert train()[0] == 0
    shutil.copy(folder / "dark" / "0.png", folder / "dark" / "9.png")
    status, _, err = train("--epochs", "2")
    assert status == 1
    assert "the number of images was 12 and is 13 now" in err
    (tmp_path / "run" / "settings.json").write_text("[")
    status, _, err = train()
    assert status == 1
    assert "settings.json can't be read" in err


def test_after_an_interruption_it_says_how_to_go_on(train, tmp_path, monkeypatch):
    fit = keras.Model.fit

    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", stop)
    status, _, err = train()
    assert status == 130
    assert "no epoch was finished" in err
    assert "run the same command again" in err
    monkeypatch.setattr(keras.Model, "fit", fit)
    assert train()[0] == 0
    monkeypatch.setattr(keras.Model, "fit", stop)
    assert "1 epochs are kept" in train("--epochs", "2")[2]


def test_no_model_is_claimed_where_none_was_kept(train, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_paca.commands.train.fine_tune", lambda *a, **k: None)
    status, out, err = train()
    assert status == 1
    assert "No model was kept" in err
    assert "best" not in out


def test_training_a_trained_model_further(train, run, folder, tmp_path):
    """The head stays for the same classes, and starts fresh for others."""
    assert train()[0] == 0
    best = tmp_path / "run" / "best.keras"
    kept = keras.saving.load_model(best)
    status, out, _ = train("--model", best, output="again")
    assert status == 0
    assert "fresh" not in out
    again = keras.saving.load_model(tmp_path / "again" / "best.keras")
    for a, b in zip(kept.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)
    (folder / "dark").rename(folder / "black")
    status, out, _ = train("--model", best, output="other")
    assert status == 0
    assert "the head starts fresh" in out
    assert keras.saving.load_model(tmp_path / "other" / "best.keras").class_names == [
        "black", "bright",
    ]  # fmt: skip


def test_training_a_backbone(train, model_file, tmp_path):
    path = model_file("features", "backbone.keras", input_shape=(64, 64, 3))
    assert train("--model", path)[0] == 0
    before = keras.saving.load_model(path).get_layer("stem").get_weights()
    after = keras.saving.load_model(tmp_path / "run" / "best.keras").get_layer("stem").get_weights()
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)


@pytest.mark.parametrize("include_top", [True, False])
def test_training_a_model_of_two_classifiers(include_top, train, tmp_path):
    """A RapidNet, with its top or without, whose projection is a part of the top."""
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    options = {"embedding_dim": 16, "include_top": include_top, "classes": 5}
    model = keras_paca.RapidNet((8, 8, 16, 16), depths, **options)
    model.save(tmp_path / "rapidnet.keras")
    before = keras.ops.convert_to_numpy(model.get_layer("stem").conv1.conv.kernel)
    status, out, _ = train("--model", tmp_path / "rapidnet.keras", "--drop-path-rate", "0.2")
    assert status == 0
    assert "the head starts fresh" in out
    best = keras.saving.load_model(tmp_path / "run" / "best.keras")
    assert isinstance(best, keras_paca.RapidNet)
    assert best.class_names == ["bright", "dark"]
    assert best.get_config()["drop_path_rate"] == 0.2
    assert best.compute_output_shape((1, 64, 64, 3)) == (1, 2)
    after = keras.ops.convert_to_numpy(best.get_layer("stem").conv1.conv.kernel)
    np.testing.assert_allclose(after, before, atol=0.1)


def test_models_and_options_that_can_not_be_trained(refused):
    words = "--model must name a classifier, to train it on images of classes. Received: paca_"
    assert words in refused("--model", "paca_tiny_segmenter")
    assert "rapidnet_ti doesn't take --clusters" in refused(
        "--model", "rapidnet_ti", "--clusters", "9"
    )


def test_frozen_layers_of_a_file_stay_frozen(train, model_file, small, tmp_path):
    model = small(classes=2)
    model.get_layer("stem").trainable = False
    model.save(tmp_path / "frozen.keras")
    assert train("--model", tmp_path / "frozen.keras")[0] == 0
    best = keras.saving.load_model(tmp_path / "run" / "best.keras")
    assert not best.get_layer("stem").trainable
    for a, b in zip(
        model.get_layer("stem").get_weights(), best.get_layer("stem").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["segmenter", "detector", "own", "quantized"])
def test_models_that_can_not_be_trained(kind, train, model_file, small, tmp_path):
    path = tmp_path / "other.keras"
    if kind == "own":
        keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()]).save(path)
    elif kind == "quantized":
        model = small(classes=2)
        model.get_layer("predictions").quantize("int8")
        model.save(path)
    else:
        path = model_file(kind, "other.keras")
    status, _, err = train("--model", path)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "Received: " in err
    assert not (tmp_path / "run").exists()


def test_output_that_is_a_file(train, tmp_path):
    (tmp_path / "run").write_text("text")
    status, _, err = train()
    assert status == 1
    assert "--output must be a folder" in err


@pytest.mark.filterwarnings("default::UserWarning")
def test_all_bad_pictures_are_named_and_others_left_out(train, folder, tmp_path):
    for name in ("bright/a.jpg", "dark/b.png"):
        (folder / name).write_text("text")
    (folder / "dark" / "._0.png").write_text("left by macOS")
    status, _, err = train()
    assert status == 1
    assert "a.jpg" in err
    assert "b.png" in err
    assert "._0" not in err
    for name in ("bright/a.jpg", "dark/b.png"):
        (folder / name).unlink()
    Image.new("RGB", (40, 40)).save(folder / "dark" / "c.jfif", "JPEG")
    (folder / "dark" / "notes.txt").write_text("text")
    status, _, err = train()
    assert status == 0
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["images"] == 13
    assert "1 .txt" in err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--learning-rate", "-1"), "--learning-rate: must be a number above 0, not -1"),
        (("--learning-rate", "nan"), "--learning-rate: must be"),
        (("--learning-rate", "inf"), "--learning-rate: must be"),
        (("--validation-split", "1.5"), "--validation-split: must be in (0, 1), not 1.5"),
        (("--validation-split", "nan"), "--validation-split: must be"),
        (("--drop-path-rate", "1"), "--drop-path-rate: must be in [0, 1), not 1"),
        (("--clustering", "conf"), "--clustering: invalid choice: 'conf'"),
        (("--seed", "-1"), "--seed: must be 0 or more"),
    ],
)
def test_options_are_checked_by_their_names(option, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "folder", *option])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


# --- What is refused before a picture is read -------------------------------------------------


@pytest.fixture
def refused(train, monkeypatch, tmp_path):
    """Return a function that trains and returns the error; no picture may have been read."""

    def call(*options, **more):
        monkeypatch.setattr(
            "keras_paca.commands.train.find_images", lambda *a, **k: pytest.fail("read pictures")
        )
        status, _, err = train(*options, **more)
        assert status == 1
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "run").exists()
        return err

    return call


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "none.keras"), "No such model: none.keras"),
        (
            ("--model", "none.pth"),
            "--model must be a name that `keras-paca models` lists; tiny, small, base",
        ),
        (
            ("--model", "tiny", "--weights", "none.pth"),
            "--weights must be imagenet, none or a file",
        ),
        (
            ("--seed", "1000000000000"),
            "--seed must be from 0 to 4294967295. Received: --seed 10000",
        ),
    ],
)
def test_options_that_nothing_can_be_trained_with(options, words, refused):
    assert words in refused(*options)


def test_other_models_are_refused_at_once(refused, model_file):
    path = model_file("segmenter", "other.keras")
    err = refused("--model", path)
    assert "--model must be the file of a classifier or backbone" in err
    assert f"Received: {path}" in err


def test_outputs_that_can_not_be_made(refused, tmp_path):
    (tmp_path / "a.png").touch()
    err = refused(output="a.png/x")
    assert "--output must be a folder that can be made and written" in err
    assert f"Received: --output {tmp_path / 'a.png' / 'x'}" in err
    if sys.platform == "linux":
        assert "--output must be a folder that can be made" in refused("--output", "/proc/r")


def test_output_among_the_classes(refused, folder, monkeypatch, tmp_path):
    words = "--output must not lie in FOLDER"
    assert words in refused(output="data/run")
    assert words in refused(output="data/dark/more/run")
    monkeypatch.chdir(folder)
    assert words in refused("--output", "run", data=".")
    assert sorted(path.name for path in folder.iterdir()) == ["bright", "dark"]


@pytest.mark.parametrize("option", ["--model", "--weights"])
def test_the_source_is_not_overwritten(option, train, tmp_path, monkeypatch):
    source = tmp_path / "run" / "best.keras"
    source.parent.mkdir()
    source.write_bytes((tmp_path / "start.keras").read_bytes())
    before = source.read_bytes()
    monkeypatch.chdir(tmp_path)
    options = ("--model", "tiny") if option == "--weights" else ()
    status, _, err = train(*options, option, "run/best.keras")
    assert status == 1
    assert "would overwrite run/best.keras, which is trained from. Choose another --output" in err
    assert source.read_bytes() == before
    assert os.listdir(source.parent) == ["best.keras"]


def test_classes_whose_names_are_no_text(refused, folder):
    path = folder / os.fsdecode(b"caf\xe9")
    try:
        shutil.copytree(folder / "dark", path)
    except OSError:
        pytest.skip("this file system takes only names of valid UTF-8")
    assert "must have names of valid UTF-8, as they name the classes. Received: 'caf\\udce9'" in (
        refused()
    )


# --- What a model's file says -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "size", "crop"),
    [
        ("classifier", {"evaluation_transform": {"image_size": 40, "crop": 0.8}}, 40, 0.8),
        ("classifier", {"evaluation_transform": {"image_size": (32, 48)}}, [32, 48], 0.9),
        ("features", {"input_shape": (64, 64, 3)}, 64, 0.9),
        ("features", {}, 224, 0.9),
    ],
)
def test_size_and_crop_are_those_of_the_file(
    kind, options, size, crop, run, folder, model_file, tmp_path, monkeypatch
):
    seen = {}

    def fine_tune(model, training, validation, output, **more):
        seen.update(model=model, training=training, validation=validation)

    monkeypatch.setattr("keras_paca.commands.train.fine_tune", fine_tune)
    path = model_file(kind, "own.keras", **options)
    run("train", folder, "--model", path, "--output", tmp_path / "run")
    assert seen["training"].image_size == seen["validation"].image_size == size
    assert seen["validation"].crop == crop
    sides = size if isinstance(size, list) else [size, size]
    assert seen["model"].evaluation_transform == {"image_size": sides, "crop": crop}


def test_the_same_file_typed_otherwise_is_the_same_run(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("--model", "start.keras")[0] == 0
    status, _, err = train("--model", "./start.keras", "--epochs", "2")
    assert status == 0, err
    path = tmp_path / "run" / "settings.json"
    settings = json.loads(path.read_text())
    assert settings["model"] == str(tmp_path / "start.keras")
    path.write_text(json.dumps({**settings, "model": "start.keras"}))  # as it was written once
    status, out, err = train("--epochs", "2")
    assert status == 0, err
    assert "already finished" in out


def test_a_frozen_head_is_refused_in_the_words_of_the_options(train, small, tmp_path):
    model = small(classes=2)
    model.get_layer("predictions").trainable = False
    model.save(tmp_path / "frozen.keras")
    status, _, err = train("--model", tmp_path / "frozen.keras", "--head-epochs", "1")
    assert status == 1
    assert "Pass --head-epochs 0. Received: --head-epochs 1" in err
    status, _, err = train("--model", tmp_path / "frozen.keras")
    assert status == 0, err


def test_a_run_that_can_not_begin_leaves_no_settings(train, tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise ValueError("refused")

    monkeypatch.setattr("keras_paca.commands.train.fine_tune", refuse)
    assert train()[0] == 1
    assert os.listdir(tmp_path / "run") == []


def test_a_best_model_that_was_moved_away_is_kept_anew(train, tmp_path):
    assert train()[0] == 0
    best = tmp_path / "run" / "best.keras"
    best.unlink()
    status, out, err = train("--epochs", "2")
    assert status == 0, err
    assert best.exists()
    with (tmp_path / "run" / "log.csv").open(newline="") as lines:
        last = float(list(csv.DictReader(lines))[-1]["val_accuracy"])
    assert f"best validation accuracy {last:.2%}, model in {best}" in out
