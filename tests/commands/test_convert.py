"""`keras-paca convert`."""

import keras
import pytest

from keras_paca import PaCaTiny, cli
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def test_convert(tiny_file, tmp_path, capsys):
    target = str(tmp_path / "tiny.keras")
    assert cli.main(["convert", tiny_file, target]) == 0
    assert isinstance(keras.saving.load_model(target), keras.Model)
    assert cli.main(["convert", tiny_file, target, "--ema"]) == 1
    assert "expected a moving average of the weights" in capsys.readouterr().err


def test_convert_keeps_what_a_model_says_of_itself(tmp_path):
    said = {"class_names": ["ant", "b\u00e9e"], "evaluation_transform": {"image_size": 96}}
    PaCaTiny(weights=None, classes=2, **said).save(tmp_path / "a.keras")
    for source, target in (("a.keras", "b.safetensors"), ("b.safetensors", "c.keras")):
        assert cli.main(["convert", str(tmp_path / source), str(tmp_path / target)]) == 0
    model = keras.saving.load_model(tmp_path / "c.keras")
    assert model.class_names == said["class_names"]
    assert model.evaluation_transform["image_size"] in (96, [96, 96])


def test_convert_of_no_file(capsys):
    assert cli.main(["convert", "none.keras", "x.safetensors"]) == 1
    assert capsys.readouterr().err == "keras-paca: No such file: none.keras\n"


def test_convert_of_another_size(small, tmp_path, capsys):
    small().save("m.keras")
    assert cli.main(["convert", "m.keras", "x.safetensors"]) == 1
    message = capsys.readouterr().err
    assert "paca_tiny, paca_small, paca_base" in message
    assert "only those are converted. It looks like a PaCaViT with hidden_dims=(16, " in message
    assert [file.name for file in tmp_path.iterdir()] == ["m.keras"]
