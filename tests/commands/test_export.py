"""`keras-paca export`: what it says of what was typed, and what it writes."""

import pytest

from keras_paca import cli
from tests.marks import slow_but_on_tensorflow, slow_but_on_torch, with_tensorflow

SUFFIXES = "must end in '.tflite' (litert), '.onnx' (onnx), '.xml' (openvino) or have no suffix"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Work in a folder of its own, without any model."""
    monkeypatch.chdir(tmp_path)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            "m.foo",
            f"OUT {SUFFIXES} (tf_saved_model) where --format isn't given. Received: OUT m.foo",
        ),
        ("a.png", f"OUT {SUFFIXES}"),
        (".", "OUT must be the name of a file or folder. Received: OUT ."),
        ("no/m.onnx", "No such folder: no"),
        ("m.onnx --format litert", "OUT must end in '.tflite' for litert. Received: OUT m.onnx"),
        ("m.tflite --format coreml", "--format must be one of ['tf_saved_model', 'litert',"),
        ("m.tflite --format coreml", "Received: --format coreml"),
        (
            "m.tflite --quantize int4",
            "--quantize must be one of ('float16', 'dynamic', 'int8'), for LiteRT alone. "
            "Received: --quantize int4, for litert",
        ),
        ("m.onnx --quantize int8", "for LiteRT alone. Received: --quantize int8, for onnx"),
        (
            "m.tflite --representative .",
            "--representative and --quantize int8 go together. Received: no --quantize, "
            "--representative .",
        ),
        ("m.tflite --quantize int8", "Received: --quantize int8, no --representative"),
        ("m.TFLITE --quantize int8 --representative none", "none"),
        ("m.tflite --image-size 32 32 32", "--image-size takes a side, or height and width"),
    ],
)
def test_export_looks_at_what_is_typed_before_the_model(typed, words, capsys):
    assert cli.main(["export", "none.keras", *typed.split()]) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "none.keras" not in message
    assert len(message.splitlines()) == 1
    for name in ("`", "PosixPath", "image_size", "representative_data", "path=", "format="):
        assert name not in message


@with_tensorflow
@pytest.mark.filterwarnings("ignore")  # of the converters
@slow_but_on_tensorflow
def test_export_command(small, tmp_path, capsys):
    small(input_shape=(None, None, 3)).save(tmp_path / "model.keras")
    model, target = str(tmp_path / "model.keras"), tmp_path / "model.tflite"
    assert cli.main(["export", model, str(target), "--image-size", "64", "48"]) == 0
    assert "difference" in capsys.readouterr().out
    assert target.exists()
    assert cli.main(["export", model, str(target)]) == 1
    message = capsys.readouterr().err
    assert "pass --image-size, such as --image-size 224. Received: no --image-size" in message


@with_tensorflow
@pytest.mark.filterwarnings("ignore")  # of the converters
@slow_but_on_tensorflow
def test_command_takes_the_size_that_the_model_says(small, tmp_path, capsys, monkeypatch):
    from keras_paca.commands import benchmark, export

    transform = {"image_size": [64, 48], "crop": 1.0}
    small(input_shape=(None, None, 3), evaluation_transform=transform).save(tmp_path / "m.keras")
    given = []
    monkeypatch.setattr(export, "export", lambda *arguments, **options: given.append(options))
    monkeypatch.setattr(benchmark, "benchmark", lambda *arguments, **options: given.append(options))
    model = str(tmp_path / "m.keras")
    for command in (
        ["export", model, "m.TFLITE"],
        ["export", model, "m.onnx"],
        ["benchmark", model],
    ):
        assert cli.main(command) == 0
        assert cli.main([*command, "--image-size", "32"]) == 0
    sizes = [options["image_size"] for options in given]
    # ONNX holds a model of any size
    assert sizes == [[64, 48], (32, 32), None, (32, 32), [64, 48], (32, 32)]
    capsys.readouterr()
    small(input_shape=(64, 64, 3), evaluation_transform=transform).save(tmp_path / "m.keras")
    monkeypatch.undo()
    for command in (["export", model, str(tmp_path / "m.onnx")], ["benchmark", model]):
        assert cli.main([*command, "--image-size", "32"]) == 1
        assert "--image-size must be the model's own, (64, 64)" in capsys.readouterr().err
