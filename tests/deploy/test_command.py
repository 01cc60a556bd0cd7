"""What `export` and `convert` say of what was typed, before a model is opened."""

import pytest

from keras_paca.cli import main
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch

SUFFIXES = "must end in '.tflite' (litert), '.onnx' (onnx), '.xml' (openvino) or have no suffix"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Work in a folder of its own, without any model."""
    monkeypatch.chdir(tmp_path)


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
    assert main(["export", "none.keras", *typed.split()]) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "none.keras" not in message
    assert len(message.splitlines()) == 1
    for name in ("`", "PosixPath", "image_size", "representative_data", "path=", "format="):
        assert name not in message


def test_convert_of_no_file(capsys):
    assert main(["convert", "none.keras", "x.safetensors"]) == 1
    assert capsys.readouterr().err == "keras-paca: No such file: none.keras\n"


def test_convert_of_another_size(small, tmp_path, capsys):
    small().save("m.keras")
    assert main(["convert", "m.keras", "x.safetensors"]) == 1
    message = capsys.readouterr().err
    assert "sizes tiny, small and base; only those are converted. Received: channels" in message
    assert [file.name for file in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.parametrize("name", ["m.H5", "m.HDF5", "m.weights.h5"])
def test_whole_models_go_into_no_hdf5_file(name, small, tmp_path):
    """Keras would speak of `.h5`, and can't load what it saves as `.weights.h5`."""
    with pytest.raises(ValueError, match=rf"ends in \.keras.*Received: '{name}'"):
        small().save(name)
    assert not list(tmp_path.iterdir())
