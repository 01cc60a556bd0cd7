"""What quantization does to the model of handwritten digits that `keras-paca demo` trains.

    python benchmarks/int8.py demo/digits.keras

Accuracy on the demo's 325 test images, and how often the first class is that of Keras in float32:
for LiteRT in each precision, and for Keras's own int8 and int4. Needs TensorFlow as the backend and
the extras `demo` and `litert`. Rows are printed and written to benchmarks/int8.csv.
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

FIELDS = ("form", "megabytes", "accuracy", "agreement")


def main():
    """Measure, print and write."""
    model = keras.saving.load_model(sys.argv[1])
    (train, _), (images, labels) = load_digits()
    reference = model.predict(images, verbose=0)
    forms = [("Keras float32", Path(sys.argv[1]).stat().st_size, reference)]
    with tempfile.TemporaryDirectory() as folder:
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
            quantized = keras.saving.load_model(sys.argv[1])
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
            row = (form, f"{size / 1e6:.2f}", f"{accuracy:.4f}", f"{agreement:.4f}")
            print("{:16} {:>6} MB  accuracy {}  agreement {}".format(*row))
            writer.writerow(row)


if __name__ == "__main__":
    main()
