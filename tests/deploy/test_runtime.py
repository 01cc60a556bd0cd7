"""Files run where nothing is installed but their runtime."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.deploy import check as checks
from keras_paca.deploy import formats
from tests.marks import with_tensorflow

BACKEND = keras.backend.backend()
SUFFIXES = formats.SUFFIXES


pytestmark = [with_tensorflow, pytest.mark.usefixtures("their_warnings")]


OUTSIDER = """
import runpy, sys
for name in ("keras", "keras_paca", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # an import fails
sys.argv = ["runtime.py", *sys.argv[2:]]
runpy.run_path(RUNTIME, run_name="__main__")
"""


# One format each in `make test`: what the others write goes through TensorFlow as well.
OUTSIDE = {"tensorflow": ("onnx",), "torch": ("litert",)}.get(BACKEND, ())


@pytest.mark.parametrize(
    "format",
    [f if f in OUTSIDE else pytest.param(f, marks=pytest.mark.slow) for f in ("litert", "onnx")],
)
def test_runs_without_any_backend(format, classifier, images, tmp_path):
    exported = keras_paca.export(
        classifier, tmp_path / f"model{SUFFIXES[format]}", format, image_size=64
    )
    assert exported.measures["output_0"]["difference"] < 1e-5
    x = images(1, 64, 64, 3)
    np.savez(tmp_path / "in.npz", images=x)
    script = OUTSIDER.replace("RUNTIME", repr(checks.__file__.replace("check.py", "runtime.py")))
    command = [sys.executable, "-c", script, "-", format, str(exported.path)]
    subprocess.run([*command, tmp_path / "in.npz", tmp_path / "out.npz"], check=True)
    found = np.load(tmp_path / "out.npz")["0/output_0"]
    np.testing.assert_allclose(found, classifier.predict(x, verbose=0), rtol=1e-4)
