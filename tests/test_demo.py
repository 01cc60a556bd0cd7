"""The main job, shortened; `make demo` runs it whole."""

import keras
import matplotlib.image
import pytest

from keras_paca import demo


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "EPOCHS", 1)
    smaller = {"hidden_dims": (16, 24, 32, 40), "depths": 1, "num_heads": (1, 2, 2, 4)}
    monkeypatch.setattr(demo, "SETTINGS", {**demo.SETTINGS, **smaller})
    with pytest.raises(RuntimeError, match=r"test accuracy .* is below 97%"):
        demo.run_demo(tmp_path, verbose=0)
    monkeypatch.setattr(demo, "ACCURACY", 0.15)
    monkeypatch.setattr(demo, "COSINE", 1.0)
    monkeypatch.setattr(demo, "WINNERS", 1)
    capsys.readouterr()
    result = demo.run_demo(tmp_path, verbose=0)
    assert result["accuracy"] > 0.15  # chance is 0.1
    assert result["difference"]["keras"] < 1e-5
    assert matplotlib.image.imread(tmp_path / "clusters.png").std() > 0.05
    assert keras.saving.load_model(tmp_path / "digits.keras").name == "paca_digits"
    output = capsys.readouterr().out
    assert "test accuracy" in output
    if keras.backend.backend() == "tensorflow":
        assert result["difference"]["litert"] < 1e-5
    else:
        assert result["difference"]["litert"] is None
        assert output.count("no LiteRT file: ") == 1


def test_digits_are_all_there():
    (images, labels), (test_images, test_labels) = demo.load_digits()
    assert len(images) + len(test_images) == len(labels) + len(test_labels) == 1797
    assert images.shape[1:] == (64, 64, 3)
    assert images.min() >= 0
    assert 200 < images.max() <= 255
