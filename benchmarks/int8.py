"""What quantization does to the model of handwritten digits that `keras-paca demo` trains.

    python benchmarks/int8.py demo/digits.keras

For LiteRT in each precision, and for Keras's own int8 and int4, on the demo's 325 test images:
accuracy, how often the first class is that of Keras in float32, and the relative difference of the
probabilities to Keras in float32. The files hold no optimizer. Needs TensorFlow as the backend and
the extras `demo` and `litert`. Rows are printed and written to benchmarks/int8.csv. It takes a few
minutes.
"""

import csv
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_paca
from keras_paca.demo import load_digits
from keras_paca.deploy.runtime import OPENERS

FIELDS = ("form", "megabytes", "accuracy", "agreement", "difference")


def main():
    """Measure, print and write."""
    model = keras.saving.load_model(sys.argv[1], compile=False)
    (train, _), (images, labels) = load_digits()
    reference = model.predict(images, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        size = (Path(folder) / "model.keras").stat().st_size
        forms = [("Keras float32", size, reference)]
        for quantize in (None, "float16", "dynamic", "int8"):
            file = Path(folder) / "model.tflite"
            exported = keras_paca.export(
                model,
                file,
                "litert",
                quantize=quantize,
                representative_data=train[:100] if quantize == "int8" else None,
            )
            classify, _ = OPENERS["litert"](str(file))
            scores = [next(iter(classify(image[None]).values()))[0] for image in images]
            forms.append((f"LiteRT {quantize or 'float32'}", exported.size, np.array(scores)))
        for mode in ("int8", "int4"):
            quantized = keras.saving.load_model(sys.argv[1], compile=False)
            quantized.quantize(mode)
            quantized.save(Path(folder) / "quantized.keras")
            again = keras.saving.load_model(Path(folder) / "quantized.keras")
            size = (Path(folder) / "quantized.keras").stat().st_size
            forms.append((f"Keras {mode}", size, again.predict(images, verbose=0)))
    target = Path(__file__).with_suffix(".csv")
    with target.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(FIELDS)
        for form, size, scores in forms:
            accuracy = (scores.argmax(-1) == labels).mean()
            agreement = (scores.argmax(-1) == reference.argmax(-1)).mean()
            difference = np.linalg.norm(scores - reference) / np.linalg.norm(reference)
            row = (form, f"{size / 1e6:.2f}", f"{accuracy:.4f}", f"{agreement:.4f}")
            row += (f"{difference:.1e}",)
            print("{:16} {:>6} MB  accuracy {}  agreement {}  difference {}".format(*row))
            writer.writerow(row)


if __name__ == "__main__":
    main()
