"""The matrix of exports: model x format x training backend x image size.

    python benchmarks/exports.py [MODEL ...] [--precision PRECISION]

For each: the relative difference to Keras that the check found in the file's own runtime, the
number of kinds of operators, the size, and the latency of one image, in a process of its own. Files
of a fixed image size take one image at a time, the others any number. The classifier gives logits:
without training its probabilities are all smaller than an integer's step. Needs an environment with
the three backends and the extras `litert`, `onnx` and `openvino`, such as .venv/all. Rows of
benchmarks/exports.csv are replaced, those of one model or precision where it is named, and the
table that the README's is made of is printed. It takes hours on two cores; a model alone takes
less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from turns import BACKENDS, ROOT, RUNTIMES, describe, read_rows, write_rows

SIZES = {"tiny": (224, None), "segmenter": ((256, 192), None), "mask_rcnn": ((320, 256),)}
FORMATS = {
    "tf_saved_model": (None,),
    "litert": (None, "float16", "dynamic", "int8"),
    "onnx": (None,),
    "openvino": (None,),
}
FIELDS = (
    "commit", "processor", "versions", "model", "format", "precision", "backend", "image_size",
    "difference", "operators", "megabytes", "ms", "error",
)  # fmt: skip
KEY = ("model", "format", "precision", "backend", "image_size")


def build(name, size):
    """Return a model with random weights, of a fixed image size where one is given."""
    import keras_paca
    from keras_paca import detection, segmentation

    sides = (size, size) if isinstance(size, int) else tuple(size or (None, None))
    options = {"weights": None, "input_shape": (*sides, 3)}
    if name == "segmenter":
        return segmentation.PaCaTinySegmenter("paca", **options)
    if name == "mask_rcnn":
        model = detection.PaCaTinyMaskRCNN(**options)
        for weight in model.weights:  # fresh scores are all but equal, and rounding picks boxes
            scale = {"rpn/objectness/kernel": 10, "box_head/classify/kernel": 3}
            weight.assign(scale.get(weight.path, 1) * weight)
        return model
    return keras_paca.PaCaTiny(classifier_activation=None, **options)


def measure(name, size, precision):
    """Export one model to every format on the backend of this process; print rows as JSON."""
    import keras

    import keras_paca
    from keras_paca.deploy import check

    keras.utils.set_random_seed(0)
    model = build(name, size)
    sides = model.inputs[0].shape[1:3]
    any_size = None in sides
    sides = (224, 224) if any_size else tuple(sides)
    images = check.check_images(model, (None, *sides, 3))[0]
    for format, forms in FORMATS.items():
        if name == "mask_rcnn" and format not in ("tf_saved_model", "onnx"):
            continue
        for quantize in forms:
            if quantize and keras.backend.backend() != "tensorflow":
                continue  # TensorFlow writes them all
            if precision not in (None, quantize or "float32"):
                continue
            row = {"format": format, "precision": quantize or "float32"}
            try:
                row |= export(keras_paca.export, model, format, quantize, sides, images, any_size)
            except Exception as error:
                row["error"] = " ".join(str(error).split())[:200]
            print(json.dumps(row), flush=True)


def export(write, model, format, quantize, sides, images, any_size):
    """Export, and measure the latency of one image."""
    import numpy as np

    from keras_paca.deploy import check
    from keras_paca.deploy.exports import SUFFIXES

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"model{SUFFIXES[format]}"
        written = write(
            model,
            target,
            format,
            image_size=sides if format == "litert" else None,
            batch_size=None if any_size else 1,
            quantize=quantize,
            representative_data=images if quantize == "int8" else None,
            verbose=False,
        )
        np.savez(Path(folder) / "images.npz", images=images[:1])
        answer = check.call_runtime(format, target, Path(folder) / "images.npz", "measure")
    (measures,) = written.measures.values()
    return {
        "difference": f"{next(iter(measures.values())):.1e}",
        "operators": len(written.operators),
        "megabytes": f"{written.size / 1e6:.1f}",
        "ms": f"{json.loads(answer.splitlines()[-1])['ms']:.1f}",
    }


def main():
    """Measure every model on every backend, each in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=list(SIZES))
    parser.add_argument("--precision")
    options = parser.parse_args()
    common = dict(zip(FIELDS, describe(*RUNTIMES), strict=False))
    target = ROOT / "benchmarks" / "exports.csv"
    rows = {tuple(row[key] for key in KEY): row for row in read_rows(target)}
    for name in options.models:
        for size in SIZES[name]:
            for backend in BACKENDS if options.precision in (None, "float32") else BACKENDS[:1]:
                where = {"model": name, "backend": backend, "image_size": str(size or "any")}
                for row in _rows(backend, name, size, options.precision):
                    print(name, size, backend, *row.values(), flush=True)
                    row = {**common, **where, **row}
                    rows[tuple(row[key] for key in KEY)] = row
                write_rows(target, FIELDS, rows.values())
    table(rows.values())


def table(rows):
    """Print one line per file, over the backends: the worst difference, the median latency."""
    kinds = {}
    for row in rows:
        kind = row["model"], row["image_size"], row["format"], row["precision"]
        kinds.setdefault(kind, []).append(row)
    print("| model | image | format | precision | difference | operators | MB | ms |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, of in kinds.items():
        good = [row for row in of if not row.get("error")]
        if len(good) < len(of):
            print("|", " | ".join(kind), "|", next(row["error"] for row in of if row["error"]), "|")
            continue
        difference = max(float(row["difference"]) for row in good)
        ms = statistics.median(float(row["ms"]) for row in good)
        print(
            f"| {' | '.join(kind)} | {difference:.0e} | {good[0]['operators']} | "
            f"{float(good[0]['megabytes']):.0f} | {ms:.0f} |"
        )


def _rows(backend, name, size, precision):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    command = [sys.executable, __file__, "--one", json.dumps([name, size, precision])]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(*json.loads(sys.argv[2]))
    else:
        main()
