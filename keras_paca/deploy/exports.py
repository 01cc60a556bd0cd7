"""From a model on any backend to a checked file: SavedModel, LiteRT, ONNX, OpenVINO."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy import check as checks
from keras_paca.deploy.fuse import PACKAGE
from keras_paca.deploy.fuse import fuse as fuse_model
from keras_paca.deploy.write import QUANTIZED, write
from keras_paca.extras import install_command
from keras_paca.layers import PaCaBlock
from keras_paca.layers.composite import quantized_layers

ALIASES = {"saved_model": "tf_saved_model", "tflite": "litert"}
SUFFIXES = {"tf_saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
# What writes a format beside Keras, and what runs it.
WRITERS = {
    "tf_saved_model": ("tensorflow",),
    "litert": ("tensorflow",),
    "onnx": ("tensorflow", "tf2onnx"),
    "openvino": ("tensorflow", "openvino"),
}
RUNTIMES = {
    "tf_saved_model": "tensorflow",
    "litert": "ai_edge_litert",
    "onnx": "onnxruntime",
    "openvino": "openvino",
}
EXTRAS = {
    "tf_saved_model": "tensorflow",
    "litert": "tensorflow,litert",
    "onnx": "tensorflow,onnx",
    "openvino": "tensorflow,openvino",
}
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: the file, or the folder of a SavedModel.
        format: its format, under Keras's name.
        precision: "float32", "float16", "dynamic" or "int8".
        input_shape: (batch, height, width, channels), `None` where any.
        size: its bytes on the disk, OpenVINO's weights included.
        operators: the operators in it, sorted; empty for unchecked files, and for ONNX without the
            package onnx.
        measures: {output: {"difference": ||out - keras|| / ||keras||, ...}}, the worst over the
            check's images; empty for unchecked files. See `keras_paca.deploy.check.compare`.
    """

    path: Path
    format: str
    precision: str
    input_shape: tuple
    size: int
    operators: tuple[str, ...]
    measures: dict[str, dict[str, float]]

    def __str__(self) -> str:
        """Say it in a line."""
        found = [
            f"{name}: " + ", ".join(f"{measure} {value:.2g}" for measure, value in values.items())
            for name, values in self.measures.items()
        ]
        checked = "; ".join(found) if found else "unchecked"
        return f"{self.path} ({self.format}, {self.precision}, {self.size / 1e6:.1f} MB): {checked}"


def export(
    model: keras.Model,
    path: str | Path,
    format: str = "tf_saved_model",
    image_size: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    quantize: str | None = None,
    representative_data: Any = None,
    check: bool = True,
    check_data: Any = None,
    fuse: bool = True,
    verbose: bool = True,
) -> Exported:
    """Write a model's inference to a file for another runtime, and check that file there.

    The file is written by `Model.export` of the fused model. TensorFlow writes all four formats;
    from another backend the model goes through a process of its own with TensorFlow as backend.
    Then the file runs in its runtime, in a process that hasn't got Keras, on four photographs and
    noise, and is compared with Keras on the backend at hand. A file that is worse than its bound is
    kept as NAME.rejected beside the path, which is left as it was.

    | precision | bound |
    | --- | --- |
    | float32 | 1e-5, of ‖out - keras‖ / ‖keras‖ per output, for probabilities of their logits |
    | float16 | 1e-2 |
    | dynamic, int8 | cosine 0.95, same first class for 3 of 4 |
    | Mask R-CNN | 98 % of the detections have a partner within half a pixel and 0.001 of score |

    Args:
        model: a model of one image input: a classifier, backbone, segmenter, Mask R-CNN, or the
            user's own.
        path: file ending in ".tflite", ".onnx" or ".xml" (the weights go to ".bin" beside it), or
            folder of a SavedModel. A file, or a SavedModel, that is there is replaced when the new
            one is whole.
        format: "tf_saved_model" (or "saved_model"), "litert", "onnx" or "openvino".
        image_size: height and width of the file's input, one integer for a square; by default the
            model's, any size where that is unknown. LiteRT needs one.
        batch_size: images at a time; by default any number, for LiteRT 1.
        quantize: for LiteRT "float16" (half the size), "dynamic" (weights in int8) or "int8"
            (inputs of convolutions and projections too, by the ranges seen in
            `representative_data`; softmax, attention's products, norms and sums stay in float).
        representative_data: for "int8", images as the model takes them, (n, height, width,
            channels), a hundred or so.
        check: whether to check the file.
        check_data: images (n, height, width, channels) to check with in place of the photographs.
        fuse: whether to fold what can be folded first; see `keras_paca.fuse`. Models without layers
            of this library, and quantized ones, are exported as they are.
        verbose: whether to print a line.

    Returns:
        What was written; see `Exported`.

    Raises:
        ValueError: if an argument doesn't fit, or the file differs by more than its bound.
        ImportError: if what writes or runs the format is missing; it names the extra.
        FileNotFoundError: if the path's folder doesn't exist.
        OSError: if the path can't be written, or is a folder with something else in it; nothing
            is left under its name.
        RuntimeError: if the format's converter fails.
    """
    format = ALIASES.get(format, format)
    path = Path(path)
    _check_arguments(model, path, format, quantize, representative_data)
    shape = _input_shape(model, format, image_size, batch_size)
    _check_installed(format, check)
    batches = None
    if check:
        batches = _batches(model, shape, check_data)
    if representative_data is not None:
        representative_data = np.asarray(representative_data, model.inputs[0].dtype)
    mean_free = fuse and _fusible(model)
    source = _fuse_and_centre(model) if mean_free else model
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        beside = Path(folder) / path.name
        if keras.backend.backend() == "tensorflow":
            try:
                write(source, beside, format, shape, quantize, representative_data, mean_free)
            except OSError:
                raise
            except Exception as error:
                raise RuntimeError(f"{format} can't be written: {error}") from error
        else:
            if verbose:
                backend = NAMES.get(keras.backend.backend(), keras.backend.backend())
                print(f"{backend} can't write {format} whole: written by TensorFlow")
            _write_elsewhere(
                source, beside, format, shape, quantize, representative_data, mean_free
            )
        measures, operators = {}, ()
        precision = quantize or _precision(model)
        if check:
            measures, operators = _measure(model, beside, format, shape, batches, precision)
        over = checks.exceeded(measures, precision)
        target = path.with_name(f"{path.stem}.rejected{path.suffix}") if over else path
        _move(beside, target)
    if over:
        raise ValueError(
            f"The exported file computes something else than Keras: {'; '.join(over)}. It is kept "
            f"as {target}."
        )
    exported = Exported(target, format, precision, shape, _size(target), operators, measures)
    if verbose:
        print(exported)
    return exported


# --- What is asked for ------------------------------------------------------------------------


def _check_arguments(
    model: Any, path: Path, format: str, quantize: str | None, representative_data: Any
) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {model!r}")
    if format not in SUFFIXES:
        raise ValueError(
            f"`format` must be one of {[*SUFFIXES, *ALIASES]}. Received: format={format!r}"
        )
    if path.suffix != SUFFIXES[format] and (SUFFIXES[format] or path.suffix == ".keras"):
        raise ValueError(
            f"The path of {format} must end in {SUFFIXES[format] or 'no suffix'!r}. "
            f"Received: path={str(path)!r}"
        )
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(
            "`model` must be built and have one input. "
            f"Received: inputs={getattr(model, 'inputs', None)}"
        )
    if quantize not in (None, *QUANTIZED) or (quantize is not None and format != "litert"):
        raise ValueError(
            f"`quantize` must be None, or for LiteRT one of {QUANTIZED}. "
            f"Received: quantize={quantize!r}, format={format!r}"
        )
    if (quantize == "int8") != (representative_data is not None):
        raise ValueError(
            '`representative_data`, images (n, height, width, channels), and quantize="int8" go '
            "together. "
            f"Received: quantize={quantize!r}, representative_data="
            f"{getattr(representative_data, 'shape', representative_data)}"
        )
    modes = {layer.quantization_mode for layer in quantized_layers(model)}
    if modes and format == "litert":
        raise ValueError(
            "LiteRT's converter doesn't take Keras's quantized layers; export the float model with "
            f"`quantize`. Received: a model quantized to {', '.join(sorted(modes))}"
        )
    if path.is_dir() and SUFFIXES[format]:
        raise IsADirectoryError(f"{path} is a folder")
    if format == "tf_saved_model" and path.exists() and not _may_be_replaced(path):
        raise FileExistsError(f"{path} is there and no SavedModel, which a new one may replace")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"No such folder: {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} can't be written to")


def _may_be_replaced(folder: Path) -> bool:
    """Return whether a folder is empty or a SavedModel."""
    return folder.is_dir() and ((folder / "saved_model.pb").exists() or not any(folder.iterdir()))


def _input_shape(model: keras.Model, format: str, image_size: Any, batch_size: int | None) -> tuple:
    """Return the shape of the file's input."""
    batch, *given = model.inputs[0].shape
    if len(given) != 3:
        raise ValueError(
            "`model` must take images (batch, height, width, channels). "
            f"Received: inputs of shape {model.inputs[0].shape}"
        )
    if image_size is not None:
        sides = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
        if len(sides) != 2 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sides):
            raise ValueError(
                "`image_size` must be a height and a width, or one integer. "
                f"Received: image_size={image_size!r}"
            )
        for asked, fixed in zip(sides, given[:2], strict=True):
            if fixed is not None and asked != fixed:
                raise ValueError(
                    f"`image_size` must be the model's own, {tuple(given[:2])}, or the model built "
                    f"with input_shape=(None, None, {given[2]}). Received: image_size={sides}"
                )
        given[:2] = (int(side) for side in sides)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be positive. Received: batch_size={batch_size}")
    if format == "litert" and None in given[:2]:
        raise ValueError(
            "A LiteRT file has one image size; pass `image_size`, such as image_size=224. "
            f"Received: image_size=None, and a model of inputs {model.inputs[0].shape}"
        )
    return (batch or batch_size or (1 if format == "litert" else None), *given)


def _check_installed(format: str, check: bool) -> None:
    """Raise where a package is missing; an interpreter without it would fail later and darkly."""
    needed = [*WRITERS[format], *([RUNTIMES[format]] if check else [])]
    missing = [name for name in dict.fromkeys(needed) if find_spec(name) is None]
    if missing:
        raise ImportError(f"{format} needs {', '.join(missing)}: {install_command(EXTRAS[format])}")


def _batches(model: keras.Model, shape: tuple, check_data: Any) -> list[np.ndarray]:
    """Return the check's images, by size."""
    if check_data is None:
        return checks.check_images(model, shape)
    images = np.asarray(check_data, model.inputs[0].dtype)
    fits = images.ndim == 4 and all(
        a in (None, b) for a, b in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits or len(images) % (shape[0] or 1) or len(images) == 0:
        raise ValueError(
            f"`check_data` must be images of the file's inputs {shape}, in whole batches. "
            f"Received: an array of shape {images.shape}"
        )
    if np.all(images == images[:, :1, :1]):
        raise ValueError("`check_data` must not be constant images: they show nothing.")
    return [images]


def _precision(model: keras.Model) -> str:
    """Return the precision of what a model computes: that of the least precise layer."""
    half = any(layer.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers())
    return "float16" if half else "float32"


def _fusible(model: keras.Model) -> bool:
    """Return whether `fuse` takes the model: it has layers of ours, and none quantized."""
    ours = any(
        keras.saving.get_registered_name(type(layer)).startswith(PACKAGE)
        and hasattr(layer, "fused")
        for layer in model._flatten_layers()
    )
    return ours and not quantized_layers(model)


# --- The way there ----------------------------------------------------------------------------


def _fuse_and_centre(model: keras.Model) -> keras.Model:
    """Return a fused copy whose norms needn't look for a mean; see `keras_paca.layers.mean_free`.

    That is for files alone: a model may be trained on, and its inner maps read.
    """
    copy = fuse_model(model)
    for layer in copy._flatten_layers():
        if isinstance(layer, PaCaBlock):
            layer.centre()
    return copy


def _write_elsewhere(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    quantize: str | None,
    representative_data: np.ndarray | None,
    mean_free: bool,
) -> None:
    """Save the model and write it in a process whose backend is TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        saved, data = Path(folder) / "model.keras", None
        model.save(saved)
        if representative_data is not None:
            data = str(Path(folder) / "data.npy")
            np.save(data, representative_data)
        specification = {
            "model": str(saved),
            "modules": modules_of(model),
            "path": str(path.absolute()),
            "format": format,
            "shape": shape,
            "quantize": quantize,
            "representative_data": data,
            "mean_free": mean_free,
        }
        script = Path(folder) / "specification.json"
        script.write_text(json.dumps(specification), encoding="utf-8")
        run_on("tensorflow", "keras_paca.deploy.write", str(script))


def run_on(backend: str, module: str, *arguments: str) -> str:
    """Run one of our modules in a process with a backend, and return what it prints.

    Raises:
        RuntimeError: if it fails, with the end of what it says.
    """
    answer = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        },
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise RuntimeError(f"{module} failed on {NAMES[backend]}:\n{answer.stderr[-2000:]}")
    return answer.stdout


def modules_of(model: keras.Model) -> list[str]:
    """Return the modules whose classes another process needs to load the model."""
    modules: dict[str, set[str]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            registered = keras.saving.get_registered_object(node.get("registered_name") or "")
            module = node.get("module") or getattr(registered, "__module__", None)
            if module and node.get("class_name"):
                modules.setdefault(module, set()).add(node["class_name"])
            for value in node.values():
                walk(value)
        elif isinstance(node, (list, tuple)):
            for value in node:
                walk(value)

    walk(keras.saving.serialize_keras_object(model))
    modules = {name: kinds for name, kinds in modules.items() if name.split(".")[0] != "keras"}
    lost = {name: kinds for name, kinds in modules.items() if not _importable(name)}
    if lost:
        kinds = ", ".join(
            f"{module}.{kind}" for module, each in lost.items() for kind in sorted(each)
        )
        raise ValueError(
            "The file is written in another process, with TensorFlow as backend, which can't "
            f"import {kinds}. Move the classes to a module that can be imported."
        )
    return sorted(modules)


def _importable(module: str) -> bool:
    if module == "__main__":
        return False
    with contextlib.suppress(ImportError, ValueError):
        return find_spec(module) is not None
    return False


def _measure(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    batches: list[np.ndarray],
    precision: str,
) -> tuple[dict, tuple[str, ...]]:
    """Return the worst of each measure over the batches, and the operators in the file."""
    found, operators = checks.run_file(path, format, batches, shape[0])
    if format == "onnx" and find_spec("onnx") is not None:
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        operators = sorted({node.op_type for node in graph.node})
    worst: dict[str, dict[str, float]] = {}
    for batch, outputs in zip(batches, found, strict=True):
        wanted = checks.keras_outputs(model, batch)
        for name, values in checks.compare(wanted, outputs, precision).items():
            for measure, value in values.items():
                choose = min if measure in ("cosine", "top1") else max
                kept = worst.setdefault(name, {})
                kept[measure] = choose(kept.get(measure, value), value)
    return worst, tuple(operators)


def _move(source: Path, target: Path) -> None:
    """Put what is whole where it belongs, in place of what is there."""
    if source.is_dir():
        old = source.with_name("old")
        if target.exists():
            target.replace(old)  # within the folder that is deleted afterwards
        source.replace(target)
        return
    weights = source.with_suffix(".bin")
    if source.suffix == ".xml" and weights.exists():
        weights.replace(target.with_suffix(".bin"))
    source.replace(target)


def _size(path: Path) -> int:
    """Return the bytes of what was written."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.exists())
