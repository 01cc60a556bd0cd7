"""Names and suffixes of formats."""

from pathlib import Path

import pytest

from keras_paca.deploy.formats import SUFFIXES, resolve_format
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("m.tflite", None, "litert"),
        ("m.onnx", None, "onnx"),
        ("m.v2.xml", None, "openvino"),
        ("m", None, "tf_saved_model"),
        ("m.tflite", "TFLite", "litert"),
        ("m.tflite", "LiteRT", "litert"),
        ("m.onnx", "ONNX", "onnx"),
        ("m.xml", "OpenVINO", "openvino"),
        ("m", "SavedModel", "tf_saved_model"),
        ("m", "saved-model", "tf_saved_model"),
        ("m-0.3", "saved_model", "tf_saved_model"),
        ("m.TFLITE", None, "litert"),
        ("m.Onnx", "onnx", "onnx"),
    ],
)
def test_formats(name, format, expected):
    assert resolve_format(Path(name), format) == expected


@pytest.mark.parametrize(
    "name", ["m.pb", "m.h5", "m.keras", "m.pt", "m.mlmodel", "m.json", "v0.3", ".onnx"]
)
def test_unknown_suffixes(name):
    with pytest.raises(ValueError, match=r"^`path` must end in '\.tflite' \(litert\), .*") as error:
        resolve_format(Path(name))
    for known in filter(None, SUFFIXES.values()):
        assert repr(known) in str(error.value)
    assert str(error.value).endswith(f"Received: path={name!r}")


@pytest.mark.parametrize("format", ["tflight", "", "pb", ".onnx", 3, ["onnx"]])
def test_unknown_formats(format):
    with pytest.raises(ValueError, match=r"`format` must be one of .*'litert'.*'saved_model'"):
        resolve_format(Path("m.onnx"), format)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("m.onnx", "litert"),
        ("m", "onnx"),
        ("m.bin", "openvino"),
        ("m.onnx", "saved_model"),
        ("m.TFLITE", "saved_model"),
        ("m.keras", "saved_model"),
        ("m.pb", "saved_model"),
    ],
)
def test_a_suffix_of_another_format(name, format):
    with pytest.raises(
        ValueError, match=rf"^`path` must .* for .*path='{name}', format='{format}'$"
    ):
        resolve_format(Path(name), format)
