"""Latency, memory and size of a model in Keras and in the runtimes of its exported files."""

import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy import check as checks
from keras_paca.deploy import runtime
from keras_paca.deploy.arguments import check_model, input_shape
from keras_paca.deploy.exports import export
from keras_paca.deploy.float32 import precision_of
from keras_paca.deploy.formats import RUNTIMES, SUFFIXES
from keras_paca.deploy.images import given_images
from keras_paca.deploy.processes import BACKEND_NAMES, modules_of, run_on

EXPORTED_FORMS = (
    ("tf_saved_model", None),
    ("litert", None),
    ("litert", "float16"),
    ("litert", "dynamic"),
    ("litert", "int8"),
    ("onnx", None),
    ("openvino", None),
)


def benchmark(
    model: keras.Model,
    image_size: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    representative_data: Any = None,
    verbose: bool = True,
) -> list[dict[str, Any]]:
    """Measure a model on each installed backend and in each runtime, one after the other.

    Each runs alone, in a process of its own, on photographs: the first call, which compiles, and
    the median of at least five more. Formats whose packages are missing, or in which the model
    can't be written, are left out, and a line on standard error says why.

    Args:
        model: keras.Model. A model of RGB images.
        image_size: int or (int, int). Height and width, one integer for a square; by default the
            model's, or 224.
        batch_size: int. Images at a time; by default the model's, or 1.
        representative_data: array. Images for LiteRT in int8; see `export`. The default is the
            check's photographs, which are enough to measure the speed.
        verbose: bool. Whether to print a table, and why formats are left out.

    Returns:
        list of dict. A row for each backend and each file: "runtime" and "precision" (str),
        "megabytes" of the file, "first_ms" and "ms" of the first and of later batches,
        "peak_megabytes" of the process (`None` where the system doesn't count it) and "difference"
        from Keras, ‖out - keras‖ / ‖keras‖ (`None` for Keras itself).

    Raises:
        ValueError: If the model doesn't take RGB images, or an argument doesn't fit it.
        RuntimeError: If the model or a file doesn't run.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> rows = keras_paca.deploy.benchmark(model, verbose=False)
    >>> [rows[0][key] > 0 for key in ("megabytes", "first_ms", "ms")]
    [True, True, True]
    """
    check_model(model)
    batch_size, *size, channels = input_shape(model, image_size, batch_size)
    batch_size, size = batch_size or 1, [side or 224 for side in size]
    shape = (batch_size, *size, channels)
    images = checks.check_images(model, shape)[0]
    data = images
    if representative_data is not None:
        data = given_images("representative_data", representative_data, model, shape)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images.npz"
        np.savez(source, images=images[:batch_size])
        saved = Path(folder) / "model.keras"
        model.save(saved)
        modules = modules_of(model)
        for backend, name in BACKEND_NAMES.items():
            if find_spec(backend) is None:
                continue
            answer = run_on(backend, "keras_paca.deploy.latency", str(saved), str(source), *modules)
            measured = json.loads(answer.splitlines()[-1])
            size_on_disk = saved.stat().st_size
            rows.append(_row(f"Keras on {name}", precision_of(model), size_on_disk, measured))
        for format, quantize in EXPORTED_FORMS:
            target = Path(folder) / f"model{SUFFIXES[format]}"
            try:
                exported = export(
                    model,
                    target,
                    format,
                    image_size=size,
                    batch_size=batch_size,
                    quantize=quantize,
                    representative_data=data if quantize == "int8" else None,
                    verbose=False,
                )
            except (ImportError, RuntimeError, ValueError) as error:
                if verbose:
                    print(error, file=sys.stderr)
                continue
            answer = checks.call_runtime(format, target, source, "measure")
            difference = max(each.get("difference", 0.0) for each in exported.measures.values())
            measured = {**json.loads(answer.splitlines()[-1]), "difference": difference}
            rows.append(_row(RUNTIMES[format], exported.precision, exported.size, measured))
    if verbose:
        print(_table(rows, f"{model.name}, {batch_size} x {size[0]} x {size[1]} x 3"))
    return rows


def _row(name: str, precision: str, size: int, measured: dict) -> dict[str, Any]:
    peak = measured["peak_bytes"]
    return {
        "runtime": name,
        "precision": precision,
        "megabytes": size / 1e6,
        "first_ms": measured["first_ms"],
        "ms": measured["ms"],
        "peak_megabytes": None if peak is None else peak / 1e6,
        "difference": measured.get("difference"),
    }


def _table(rows: Sequence[dict[str, Any]], title: str) -> str:
    head = f"{'':31}{'MB':>8}{'first ms':>10}{'ms':>9}{'peak MB':>9}{'difference':>12}"
    lines = [title, head]
    for row in rows:
        peak, difference = row["peak_megabytes"], row["difference"]
        lines.append(
            f"{row['runtime']:22}{row['precision']:9}{row['megabytes']:8.1f}{row['first_ms']:10.0f}"
            f"{row['ms']:9.1f}{'' if peak is None else f'{peak:.0f}':>9}"
            f"{'' if difference is None else f'{difference:.1e}':>12}"
        )
    return "\n".join(lines)


def _main() -> None:
    """Measure a saved model on the backend of this process and print the result as JSON.

    The command line is the path of the model, a file ".npz" with the array "images", and the
    modules to import before the model is loaded.
    """
    import importlib

    saved, source, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    model = keras.saving.load_model(saved, compile=False)
    with np.load(source) as stored:
        images = stored["images"]
    measured = runtime.measure(model.predict_on_batch, images)
    print(json.dumps({**measured, "peak_bytes": runtime.peak_memory()}))


if __name__ == "__main__":
    _main()
