"""The programs under examples/deploy say what Keras says of the same image."""

import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy"
PROGRAMS = {
    "classify_litert.py": "digits.tflite",
    "classify_openvino.py": "digits.xml",
    "classify_saved_model.py": "digits",
    "classify_onnx.mjs": "digits.onnx",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="prepared on TensorFlow, run without Keras"
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder in which the model was trained and exported, and what Keras says of the image."""
    folder = tmp_path_factory.mktemp("deploy")
    command = [str(Path(sys.executable).with_name("keras-paca")), "demo"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    command = [sys.executable, str(EXAMPLES / "prepare.py")]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    truth, digit, probability = _numbers(said.splitlines()[-1])
    assert truth == digit
    return folder / "demo", digit, probability


@pytest.mark.parametrize("program", PROGRAMS)
def test_consumer(program, prepared, tmp_path):
    folder, digit, probability = prepared
    runs = sys.executable
    if program.endswith(".mjs"):
        if not shutil.which("npm"):
            pytest.skip("needs Node.js and npm")
        shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
        subprocess.run(["npm", "install", "--silent"], cwd=tmp_path, check=True)
        runs = "node"
    else:
        shutil.copy(EXAMPLES / program, tmp_path)
    command = [runs, str(tmp_path / program), folder / PROGRAMS[program], folder / "digit.png"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    found = _numbers(said.splitlines()[-1])
    assert found[0] == digit
    assert found[1] == pytest.approx(probability, abs=2e-6)


def _numbers(line):
    return [float(word) for word in line.replace(",", " ").split() if word[0].isdigit()]
