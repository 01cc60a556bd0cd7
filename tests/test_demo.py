"""The main job, shortened; `make demo` runs it whole."""

from importlib.util import find_spec

import keras
import matplotlib.image
import pytest

from keras_paca import demo
from keras_paca.deploy import read_metadata
from keras_paca.extras import install_command
from tests.marks import slow_but_on_torch


@slow_but_on_torch
def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "EPOCHS", 1)
    smaller = {"hidden_dims": (16, 24, 32, 40), "depths": 1, "num_heads": (1, 2, 2, 4)}
    monkeypatch.setattr(demo, "SETTINGS", {**demo.SETTINGS, **smaller})
    checked = []
    monkeypatch.setattr(demo, "_check", lambda *arguments: checked.append(arguments))
    result = demo.run_demo(tmp_path, verbose=0)
    assert checked == [(result["accuracy"], result["clusters"])]
    assert result["accuracy"] > 0.15  # chance is 0.1
    assert result["difference"]["keras"] < 1e-5
    assert matplotlib.image.imread(tmp_path / "clusters.png").std() > 0.05
    assert keras.saving.load_model(tmp_path / "digits.keras").name == "paca_digits"
    output = capsys.readouterr().out
    assert "test accuracy" in output
    missing = [name for name in ("tensorflow", "ai_edge_litert") if find_spec(name) is None]
    file = tmp_path / "digits.tflite"
    if missing:
        assert result["difference"]["litert"] is None
        assert not file.exists()
        (line,) = [line for line in output.splitlines() if line.startswith("no LiteRT file: ")]
        assert line.endswith(f"{', '.join(missing)}: {install_command('tensorflow,litert')}")
    else:
        assert result["difference"]["litert"] < 1e-5
        assert read_metadata(file)["num_classes"] == 10
        assert f"{file} agrees with the trained model" in output
        assert "no LiteRT file" not in output
    assert "can't write" not in output


def test_demo_fails_where_the_model_learned_too_little():
    good = {"P2": {"cosine": 0.5, "winners": 9.0}}
    demo._check(0.97, good)
    with pytest.raises(RuntimeError, match=r"test accuracy 96.00% is below 97%"):
        demo._check(0.96, good)
    for bad in ({"cosine": 0.95, "winners": 9.0}, {"cosine": 0.5, "winners": 4.0}):
        with pytest.raises(RuntimeError, match="clusters of P3 are too much alike"):
            demo._check(0.98, {**good, "P3": bad})


def test_digits_are_all_there():
    (images, labels), (test_images, test_labels) = demo.load_digits()
    assert len(images) + len(test_images) == len(labels) + len(test_labels) == 1797
    assert images.shape[1:] == (64, 64, 3)
    assert images.min() >= 0
    assert 200 < images.max() <= 255
