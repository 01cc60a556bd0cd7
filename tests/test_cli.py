"""The `keras-paca` command, as a user runs it."""

import inspect
import os
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import keras_paca
import keras_paca_cli
from keras_paca import PaCaTiny, cli
from keras_paca.warn import warn_user
from tests.marks import slow_but_on_torch


@slow_but_on_torch
@pytest.mark.parametrize("command", ["predict", "train"])
def test_options_reach_what_they_name(command, tmp_path, monkeypatch):
    """Every option of the model and of training, with another value than its default."""
    built, tuned = {}, {}

    def factory(**options):
        built.update(options)
        raise ValueError("seen")

    def fine_tune(model, training, validation, output, **options):
        tuned.update(
            options, batch=training.batch_size, size=training.image_size, seed=training.seed
        )
        (output / "best.keras").touch()

    arguments = ["--model", "base", "--clustering", "mlp", "--clusters", "9,8,7,0", "--blockwise"]
    weights = tmp_path / "own.pth"
    weights.touch()
    arguments += ["--weights", str(weights), "--image-size", "64"]
    if command == "train":
        for name in ("a", "b"):
            (tmp_path / "data" / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (40, 40)).save(tmp_path / "data" / name / f"{i}.png")
        arguments += [
            str(tmp_path / "data"),
            "--output",
            str(tmp_path / "run"),
            "--drop-path-rate",
            "0.25",
        ]
        arguments += ["--head-epochs", "2", "--epochs", "5", "--batch-size", "3", "--seed", "7"]
        arguments += ["--learning-rate", "0.01"]
        monkeypatch.setattr("keras_paca.commands.train.fine_tune", fine_tune)
    else:
        Image.new("RGB", (40, 40)).save(tmp_path / "image.png")
        arguments += [str(tmp_path / "image.png")]
    build = factory if command == "predict" else lambda **options: built.update(options)
    build.__signature__ = inspect.signature(keras_paca.PaCaBase)
    models = keras_paca.PaCaViT.variants["paca_base"].models
    monkeypatch.setitem(models, "paca_base", replace(models["paca_base"], function=build))
    assert cli.main([command, *arguments]) == (command == "predict")
    model = {
        "weights": str(weights),
        "clustering": "mlp",
        "clusters": [9, 8, 7, 0],
        "cluster_every": 1,
    }
    if command == "predict":
        assert built == model
        return
    assert built == {
        **model, "classes": 2, "drop_path_rate": 0.25, "class_names": ["a", "b"],
        "evaluation_transform": {"image_size": 64, "crop": 0.9},
    }  # fmt: skip
    assert tuned.pop("on_phase")
    assert tuned == {
        "head_epochs": 2, "epochs": 5, "learning_rate": 0.01, "batch": 3, "size": 64, "seed": 7,
    }  # fmt: skip


@slow_but_on_torch
@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "none.jpg"],
        ["predict", "text.jpg"],
        ["predict", "empty"],
        ["predict", "image.png", "--model", "none.keras"],
        ["predict", "image.png", "--model", "text.keras"],
        ["predict", "image.png", "--model", "huge"],
        ["predict", "image.png", "--weights", "none.pth"],
        ["predict", "image.png", "--weights", "text.pth"],
        ["predict", "image.png", "--clustering", "mlp"],
        ["predict", "image.png", "--weights", "none"],
        ["explain", "image.png", "--weights", "none"],
        ["predict", "image.png", "--weights", "other_head.weights.h5"],
        ["predict", "image.png", "--model", "broken.keras"],
        ["predict", "image.png", "--model", "foreign.keras"],
        ["explain", "image.png", "--model", "foreign.keras"],
        ["explain", "text.jpg"],
        ["explain", "image.png", "--weights", "none", "--output", "no/such/folder.png"],
        ["train", "none"],
        ["train", "empty"],
        ["train", "one_class"],
        ["train", "image.png"],
        ["convert", "none.pth", "out.keras"],
        ["convert", "text.pth", "out.keras"],
        ["convert", "image.png", "out.txt"],
        ["convert", "broken.keras", "no/such/folder.safetensors"],
        ["demo", "--output", "image.png"],
        ["predict", "image.png", "--weights", "none", "--output", "image.png"],
        ["export", "broken.keras", "no/such/model.onnx"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_an_exit_status(arguments, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("text.jpg", "text.pth", "text.keras"):
        (tmp_path / name).write_text("only text")
    for name in ("empty", "one_class/a"):
        (tmp_path / name).mkdir(parents=True)
    if "other_head.weights.h5" in arguments:
        PaCaTiny(weights=None, classes=3).save_weights(tmp_path / "other_head.weights.h5")
    small().save(tmp_path / "broken.keras")
    with (tmp_path / "broken.keras").open("r+b") as stream:
        stream.seek(-2000, os.SEEK_END)
        stream.write(bytes(100))
    with zipfile.ZipFile(tmp_path / "foreign.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    pixels = Image.fromarray(np.zeros((40, 40, 3), "uint8"))
    pixels.save(tmp_path / "image.png")
    pixels.save(tmp_path / "one_class" / "a" / "1.png")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("keras-paca: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("default::UserWarning")
def test_only_warnings_of_this_library_are_shown(monkeypatch, capsys):
    def run(options):
        warnings.warn("of another library", UserWarning, stacklevel=1)
        warn_user("of this\nlibrary")
        return 0

    monkeypatch.setattr("keras_paca.commands.weights.run", run)
    assert cli.main(["weights"]) == 0
    assert capsys.readouterr().err == "keras-paca: warning: of this library\n"


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict"])
    assert stop.value.code == 2
    with pytest.raises(SystemExit):
        cli.main([])
    for option in ("--batch-size 0", "--epochs 0", "--image-size 16", "--head-epochs -1"):
        with pytest.raises(SystemExit):
            cli.main(["train", "folder", *option.split()])
        assert "or more, not" in capsys.readouterr().err
    for option, words in (
        ("--clusters 1,2", "or that for each stage as 100,100,100,0, not 1,2"),
        ("--clusters 4x", "must be 0 or more"),
        ("--option depth", "must be NAME=VALUE, such as drop_path_rate=0.2, not depth"),
        ("--epochs many", "must be 1 or more, not many"),
        ("--learning-rate fast", "must be a number above 0, not fast"),
        ("--validation-split 50%", "must be in (0, 1), not 50%"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["train", "folder", *option.split()])
        assert words in capsys.readouterr().err


def _command(tmp_path, arguments=("convert", "none.pth", "out.keras"), **environment):
    """Run `keras-paca` in a process without a Keras configuration."""
    clean = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-m", "keras_paca_cli", *arguments],
        env={**clean, "KERAS_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", ["--version", "--help", "train --help", "export --help"])
def test_help_and_version_import_no_keras(arguments):
    code = (
        "import sys, keras_paca_cli\n"
        "try:\n"
        "    keras_paca_cli.parse(sys.argv[1:])\n"
        "except SystemExit as stop:\n"
        "    loaded = {'keras', 'numpy', 'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
        "    sys.exit(stop.code or ', '.join(loaded) or 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert keras_paca.__version__ in result.stdout or "usage: keras-paca" in result.stdout


@pytest.mark.slow
@slow_but_on_torch
def test_names_that_the_console_can_not_show(small, tmp_path):
    """They are printed with question marks, and the pictures get their answers."""
    small(class_names=["a", "b", "c", "d", "\u03b5"]).save(tmp_path / "model.keras")
    path = tmp_path / "caf\u00e9.png"
    Image.new("RGB", (40, 40)).save(path)
    arguments = ["predict", path, "none\u00e9.png", "--model", tmp_path / "model.keras"]
    for form in ([], ["--json"]):
        result = _command(
            tmp_path, [*map(str, arguments), *form],
            PYTHONIOENCODING="ascii", PYTHONUTF8="0", KERAS_BACKEND="torch",
        )  # fmt: skip
        assert result.returncode == 1
        assert "none?.png" in result.stderr
        assert ("caf\\u00e9" if form == ["--json"] else "caf?.png") in result.stdout


@slow_but_on_torch
def test_takes_the_backend_that_is_installed(tmp_path):
    """Without KERAS_BACKEND, and again when Keras has written "tensorflow" into its file."""
    for _ in range(2):
        result = _command(tmp_path)
        assert result.returncode == 1
        assert "none.pth" in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr
    assert (tmp_path / "keras.json").exists()


def test_backend_that_is_not_installed(tmp_path):
    result = _command(tmp_path, KERAS_BACKEND="foo")
    assert result.stderr.startswith("keras-paca: KERAS_BACKEND=foo is none of this command's")
    missing = [name for name in keras_paca_cli.BACKENDS if find_spec(name) is None]
    if not missing:
        pytest.skip("every backend is installed here")
    result = _command(tmp_path, KERAS_BACKEND=missing[0])
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert f"KERAS_BACKEND={missing[0]} is not installed" in result.stderr
