"""What quantization does to models of handwritten digits: accuracy, size and floating point.

    python benchmarks/int8.py demo/digits.keras rapidnet

The file is what `keras-paca demo` trains; for `rapidnet`, a small RapidNet is trained here, as the
demo trains its PaCa-ViT. For LiteRT in each precision, and for Keras's own int8 and int4, on the
demo's 325 test images: accuracy, how often the first class is that of Keras in float32, the
relative difference of the probabilities to Keras in float32, and the operators of the file that
compute in floating point, at the end its number of operators. The files hold no optimizer. Needs
TensorFlow as the backend and the extras `demo` and `litert`. Rows are printed, and those of the
models that are named are replaced in benchmarks/int8.csv. It takes a few minutes.
"""

import csv
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from turns import read_rows

import keras_paca
from keras_paca.demo import BATCH, EPOCHS, SIDE, load_digits
from keras_paca.deploy import float_operators
from keras_paca.deploy.litert_operators import read_operators
from keras_paca.deploy.runtime import OPENERS

FIELDS = ("model", "form", "megabytes", "accuracy", "agreement", "difference", "in_float")
RAPIDNET = {
    "hidden_dims": (16, 32, 48, 64),
    "depths": ((1, 0), (1, 0), (1, 1), (1, 1)),
    "embedding_dim": 128,
    "distillation": False,
    "drop_path_rate": 0.05,
    "classes": 10,
    "input_shape": (SIDE, SIDE, 3),
    "name": "rapidnet_digits",
}


def main():
    """Measure, print and write."""
    target = Path(__file__).with_suffix(".csv")
    rows = [tuple(row[field] for field in FIELDS) for row in read_rows(target)]
    with tempfile.TemporaryDirectory() as folder:
        for source in sys.argv[1:]:
            if source == "rapidnet":
                source = train_rapidnet(Path(folder))
            name = keras.saving.load_model(source, compile=False).name
            rows = [row for row in rows if row[0] != name]
            rows += [(name, *row) for row in measure(source, Path(folder))]
    with target.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines, lineterminator="\n").writerows([FIELDS, *rows])


def train_rapidnet(folder):
    """Train a small RapidNet as the demo trains its model; return its file."""
    keras.utils.set_random_seed(0)
    (images, labels), _ = load_digits()
    model = keras_paca.RapidNet(**RAPIDNET)
    steps = EPOCHS * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=2e-3, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05), "sparse_categorical_crossentropy"
    )
    model.fit(images, labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    model.save(folder / "rapidnet.keras")
    return folder / "rapidnet.keras"


def measure(source, folder):
    """Yield a row for each form of a model."""
    model = keras.saving.load_model(source, compile=False)
    (train, _), (images, labels) = load_digits()
    reference = model.predict(images, verbose=0)
    model.save(folder / "model.keras")
    forms = [("Keras float32", folder / "model.keras", reference)]
    for quantize in (None, "float16", "dynamic", "int8"):
        file = folder / f"{quantize}.tflite"
        data = train[:100] if quantize == "int8" else None
        keras_paca.export(model, file, quantize=quantize, representative_data=data)
        classify, _ = OPENERS["litert"](str(file))
        scores = [next(iter(classify(image[None]).values()))[0] for image in images]
        forms.append((f"LiteRT {quantize or 'float32'}", file, np.array(scores)))
    for mode in ("int8", "int4"):
        quantized = keras.saving.load_model(source, compile=False)
        quantized.quantize(mode)
        file = folder / f"{mode}.keras"
        quantized.save(file)
        again = keras.saving.load_model(file)
        forms.append((f"Keras {mode}", file, again.predict(images, verbose=0)))
    for form, file, scores in forms:
        accuracy = (scores.argmax(-1) == labels).mean()
        agreement = (scores.argmax(-1) == reference.argmax(-1)).mean()
        difference = np.linalg.norm(scores - reference) / np.linalg.norm(reference)
        row = (form, f"{file.stat().st_size / 1e6:.2f}", f"{accuracy:.4f}", f"{agreement:.4f}")
        in_float = _in_float(file) if file.suffix == ".tflite" else ""
        row += (f"{difference:.1e}", in_float)
        print("{:16} {:>6} MB  accuracy {}  agreement {}  difference {}  {}".format(*row))
        yield row


def _in_float(file):
    """Return how many of a file's operators compute in floating point, and of which kinds."""
    names = float_operators(file)
    share = f"{len(names)} of {len(read_operators(file.read_bytes()))}"
    return share if len(set(names)) > 3 else f"{share}: {', '.join(sorted(set(names)))}"


if __name__ == "__main__":
    main()
