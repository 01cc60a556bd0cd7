"""`keras-paca benchmark`."""

import keras
import pytest

from keras_paca import cli
from keras_paca.deploy import latency
from tests.marks import with_tensorflow


@with_tensorflow
@pytest.mark.filterwarnings("ignore")  # of the converters
@pytest.mark.slow
def test_benchmark_command(small, tmp_path, capsys, monkeypatch):
    model = str(tmp_path / "model.keras")
    small(input_shape=(None, None, 3)).save(model)
    monkeypatch.setattr(latency, "EXPORTED_FORMS", (("litert", None),))
    monkeypatch.setattr(latency, "BACKEND_NAMES", {keras.backend.backend(): "Keras"})
    assert cli.main(["benchmark", model, "--image-size", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 x 64 x 64 x 3" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["Keras", "ai_edge_litert"]
    assert all(float(number) > 0 for line in lines[2:] for number in line.split()[-4:-1])
