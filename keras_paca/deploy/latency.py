"""Latency, memory and size of a model in Keras and in the runtimes that it can be exported to."""

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
from keras_paca.deploy.exports import NAMES, RUNTIMES, SUFFIXES, export, modules_of, run_on

FORMS = (
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
    """Measure a model on each backend that is installed and in each runtime, one after the other.

    Each runs alone, in a process of its own, on photographs: the first call, which compiles, then
    the median of at least five. Formats whose packages are missing are left out.

    Args:
        model: a model of RGB images.
        image_size: height and width, an integer for a square; by default the model's, or 224.
        batch_size: images at a time, 1 by default.
        representative_data: for LiteRT in int8; see `export`. By default the check's photographs,
            which will do for the speed.
        verbose: whether to print the table.

    Returns:
        Rows {"runtime", "precision", "megabytes" of the file, "first_ms", "ms" per batch,
        "peak_megabytes" of the process (on Linux), "difference": ‖out - keras‖ / ‖keras‖}.
    """
    fixed = model.inputs[0].shape[1:3]
    if image_size is None:
        image_size = 224 if None in fixed else fixed
    size = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
    batch_size = model.inputs[0].shape[0] or batch_size or 1
    images = checks.check_images(model, (batch_size, *size, 3))[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images.npz"
        np.savez(source, images=images[:batch_size])
        saved = Path(folder) / "model.keras"
        model.save(saved)
        modules = modules_of(model)
        for backend, name in NAMES.items():
            if find_spec(backend) is None:
                continue
            answer = run_on(backend, "keras_paca.deploy.latency", str(saved), str(source), *modules)
            measured = json.loads(answer.splitlines()[-1])
            rows.append(_row(f"Keras on {name}", "float32", saved.stat().st_size, measured))
        data = representative_data if representative_data is not None else images
        for format, quantize in FORMS:
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
            except ImportError as error:
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


def main() -> None:
    """Measure a saved model on the backend of this process, and print it as JSON."""
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
    main()
