"""Work in other processes."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_paca
from keras_paca.deploy.processes import run
from tests.marks import slow_but_on_torch, with_tensorflow

BACKEND = keras.backend.backend()
CLASS = """
import keras
@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


SCRIPT = """
import keras_paca
model = keras.Sequential([keras.Input((32, 32, 3)), Twice(), keras.layers.Conv2D(2, 3)])
try:
    keras_paca.export(model, "model.onnx", "onnx")
except ValueError as error:
    print(error)
"""


@with_tensorflow
@pytest.mark.usefixtures("their_warnings")
@pytest.mark.skipif(BACKEND != "jax", reason="one backend that can't write shows it")
def test_classes_that_the_other_process_needs(tmp_path):
    def run(script):
        (tmp_path / "script.py").write_text(script)
        return subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(keras_paca.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "can't import __main__.Twice" in run(CLASS + SCRIPT)  # as in a notebook
    assert not (tmp_path / "model.onnx").exists()
    (tmp_path / "layers_of_mine.py").write_text(CLASS)
    assert "difference" in run("import keras\nfrom layers_of_mine import Twice\n" + SCRIPT)


@slow_but_on_torch
def test_other_processes():
    assert run([sys.executable, "-c", "print(3)"]) == "3\n"
    script = (
        "import sys; print('a dump', file=sys.stderr); raise ValueError('It is\\n' + 'x' * 900)"
    )
    with pytest.raises(RuntimeError) as caught:
        run([sys.executable, "-c", script])
    assert str(caught.value) == "It is"
    assert "a dump" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="ended by signal 9, as where memory runs out"):
        run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
