"""Exported files where nothing is installed but their runtime.

    make outsiders

A PaCaTiny is exported to ONNX on JAX and to LiteRT on PyTorch, in .venv/all. Each file then runs in
a fresh environment that has its runtime and NumPy alone, on a photograph, and must give what Keras
gave. It takes a few minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {  # training backend: format, suffix, package that runs it
    "jax": ("onnx", ".onnx", "onnxruntime"),
    "torch": ("litert", ".tflite", "ai-edge-litert"),
}
WRITE = """
import sys, keras, numpy as np, keras_paca
from keras_paca.deploy import check
keras.utils.set_random_seed(0)
model = keras_paca.PaCaTiny(weights=None, include_top=False, pooling="avg")
keras_paca.export(model, sys.argv[1], sys.argv[2], image_size=224, batch_size=1)
images = check.check_images(model, (1, 224, 224, 3))[0][:1]
np.savez(sys.argv[3], images=images)
np.save(sys.argv[4], model.predict(images, verbose=0))
"""
COMPARE = """
import sys, numpy as np
found, wanted = np.load(sys.argv[1])["0/output_0"], np.load(sys.argv[2])
print(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
"""


def run(python, *arguments, **options):
    """Run Python and return what it printed."""
    command = [str(python), *map(str, arguments)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, **options)
    return answer.stdout.strip()


def main():
    """Write, run elsewhere and compare; fail where the outputs differ."""
    worst = 0.0
    for backend, (format, suffix, package) in FILES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file, images = folder / f"model{suffix}", folder / "images.npz"
            outputs, wanted = folder / "outputs.npz", folder / "wanted.npy"
            environment = {**os.environ, "KERAS_BACKEND": backend}
            everything = ROOT / ".venv" / "all" / "bin" / "python"
            run(everything, "-c", WRITE, file, format, images, wanted, cwd=ROOT, env=environment)
            venv.create(folder / "outside", with_pip=True)
            outside = folder / "outside" / "bin" / "python"
            run(outside, "-m", "pip", "install", "--quiet", package, "numpy")
            listed = json.loads(run(outside, "-m", "pip", "list", "--format", "json"))
            installed = {each["name"] for each in listed}
            if installed & {"keras", "tensorflow", "tensorflow-cpu", "jax", "torch", "keras-paca"}:
                raise RuntimeError(f"Not alone: {sorted(installed)}")
            runtime = ROOT / "keras_paca" / "deploy" / "runtime.py"
            run(outside, "-I", runtime, format, file, images, outputs)
            difference = float(run(outside, "-c", COMPARE, outputs, wanted))
            print(f"{format} from {backend} differs by {difference:.1e} in an environment of")
            print(f"    {', '.join(sorted(installed))}", flush=True)
            worst = max(worst, difference)
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
