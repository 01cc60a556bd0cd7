"""From a model on any backend to a checked file: SavedModel, LiteRT, ONNX, OpenVINO."""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy import check as checks
from keras_paca.deploy.arguments import check_folder, check_model, input_shape, named_path
from keras_paca.deploy.describe import PACKAGE, describe
from keras_paca.deploy.failures import quiet, sentence
from keras_paca.deploy.float32 import float32_copy, in_float32, precision_of
from keras_paca.deploy.formats import SUFFIXES, check_installed, resolve_format
from keras_paca.deploy.images import given_images, received
from keras_paca.deploy.litert_operators import Operator, read_operators
from keras_paca.deploy.metadata import (
    LABELS_FILE,
    METADATA_FILE,
    SAVED_MODEL_FOLDER,
    write_metadata,
)
from keras_paca.deploy.processes import BACKEND_NAMES, modules_of, run_on
from keras_paca.deploy.write import QUANTIZED, write
from keras_paca.inference import can_fuse
from keras_paca.inference import fuse as fuse_model
from keras_paca.layers.policies import quantized_layers

# The files in the folder of a SavedModel: TensorFlow's, Keras's, and this library's metadata.
SAVED_MODEL_FILES = (
    "saved_model.pb",
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "variables/variables.*",
    "assets",
    SAVED_MODEL_FOLDER,
    f"{SAVED_MODEL_FOLDER}/{METADATA_FILE}",
    f"{SAVED_MODEL_FOLDER}/{LABELS_FILE}",
)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that `export` wrote; `print` shows it in a line.

    Attributes:
        path: Path. The file, or the folder of a SavedModel.
        format: str. The file's format, "tf_saved_model", "litert", "onnx" or "openvino".
        precision: str. "float32", "float16", "dynamic" or "int8"; for a model that Keras has
            quantized its mode, such as "int8" or "int4".
        input_shape: tuple. (batch, height, width, channels), with `None` for any.
        size: int. Bytes on the disk, including OpenVINO's file of weights.
        operators: tuple of str. Names of the operators in the file, sorted. It is empty for
            unchecked files, and for ONNX without the package onnx.
        measures: dict of str to dict. For each output {"difference": ‖out - keras‖ / ‖keras‖, ...},
            the worst over the check's images; see `keras_paca.deploy.check.compare`. It is empty
            for unchecked files.
        float_operators: tuple of str. For LiteRT, the names of those operators that compute in
            floating point, sorted; see `keras_paca.deploy.float_operators`.

    Example:
    >>> measures = {"output_0": {"difference": 2e-7}}
    >>> shape = (1, 224, 224, 3)
    >>> exported = Exported(Path("a.onnx"), "onnx", "float32", shape, 49_500_000, (), measures)
    >>> print(exported)
    a.onnx (onnx, float32, 49.5 MB): output_0: difference 2e-07
    """

    path: Path
    format: str
    precision: str
    input_shape: tuple
    size: int
    operators: tuple[str, ...]
    measures: dict[str, dict[str, float]]
    float_operators: tuple[str, ...] = ()

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
    format: str | None = None,
    image_size: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    quantize: str | None = None,
    representative_data: Any = None,
    check: bool = True,
    check_data: Any = None,
    fuse: bool = True,
    verbose: bool = True,
    integer_only: bool | None = None,
) -> Exported:
    """Export a model for inference in another runtime, and check the file in that runtime.

    The file is written by `Model.export` of the fused model. TensorFlow writes all four formats; on
    another backend a process with TensorFlow as its backend loads the model and writes the file.
    A model with a policy such as "mixed_float16" is exported as a copy with the same weights that
    computes in float32: 16-bit policies are for training, and few runtimes have their operators.

    The class names, the evaluation transform and the task are written into the file, where its
    format has a place for them. `keras_paca.deploy.read_metadata` reads them.

    Then the file runs in its runtime, in a process without Keras, on four photographs and noise,
    and its outputs are compared with those of Keras on the current backend in float32. If they
    differ by more than the bound, the file is kept as NAME.rejected beside `path`, and what is at
    `path` stays as it is.

    | precision | bound |
    | --- | --- |
    | float32 | 1e-5, of ‖out - keras‖ / ‖keras‖ per output, for probabilities of their logits |
    | float16 | 1e-2 |
    | dynamic, int8, models that Keras has quantized | cosine 0.95, same first class in 3 of 4 |
    | Mask R-CNN | 98 % of the detections have a partner within half a pixel and 0.001 of score |

    Args:
        model: keras.Model. A model of one image input: a classifier, backbone, segmenter, Mask
            R-CNN, or the user's own.
        path: str or Path. File ending in ".tflite", ".onnx" or ".xml", in capitals or not (the
            weights of the last go to ".bin" beside it), or folder of a SavedModel. A file that
            exists is replaced when the new one is complete, and so is a SavedModel with no other
            files in its folder. "~" isn't expanded.
        format: str. "tf_saved_model" (or "saved_model"), "litert" (or "tflite"), "onnx" or
            "openvino", in capitals or not; by default what the path's suffix says, a SavedModel
            where it has none.
        image_size: int or (int, int). Height and width of the file's input, one integer for a
            square; by default the model's, any size where that is unknown. LiteRT needs one.
        batch_size: int. Images at a time; by default the model's or any number, for LiteRT 1.
        quantize: str. For LiteRT "float16" (half the size), "dynamic" (weights in int8) or "int8"
            (weights and maps, by the ranges seen in `representative_data`; see `integer_only`).
        representative_data: array. For "int8" about a hundred images (n, height, width, channels)
            as the model takes them, of the file's size.
        check: bool. Whether to check the file.
        check_data: array. Images (n, height, width, channels) to check with in place of the
            photographs.
        fuse: bool. Whether to fold what can be folded first; see `keras_paca.fuse`. Models without
            layers of this library, and quantized ones, are exported as they are.
        verbose: bool. Whether to print the result in a line.
        integer_only: bool. For "int8", whether the file computes in integers throughout, for
            hardware without floating point. Its input is then uint8, RGB in 0..255, or int8 if the
            model takes something else, with the scale and the zero point that the file states. Its
            outputs are float32, and a softmax that makes them is the only operator in float. With
            False, inputs are float32, and softmax, attention's products, norms and sums stay in
            float. The default is True for models of operators that lose little in integers, such
            as convolutional networks, and False for others, such as PaCa-ViT, whose softmax over
            patches would be 0 in steps of 1/256.

    Returns:
        Exported. The file and what the check found.

    Raises:
        ValueError: If an argument doesn't fit, the format can't hold the model, or the file
            differs by more than its bound.
        ImportError: If a package that writes or runs the format is missing. The message has the
            command that installs it.
        FileNotFoundError: If the path's folder doesn't exist.
        OSError: If the path can't be written, or is a folder that holds other files than those of
            a SavedModel.
        RuntimeError: If the format's converter or its runtime fails. The message is a sentence of
            what it says; all of it is in `__cause__`.

    Example:
    >>> import tempfile
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     exported = keras_paca.export(model, f"{folder}/model.tflite", verbose=False)
    >>> exported.format, exported.input_shape, exported.precision
    ('litert', (1, 32, 32, 3), 'float32')
    """
    check_model(model)
    path, format = check_target(path, format)
    check_quantization(format, quantize, representative_data, integer_only)
    _check_format_of_model(model, format, quantize)
    shape = _file_shape(model, format, image_size, batch_size)
    check_installed(format, check)
    if representative_data is not None:
        representative_data = given_images("representative_data", representative_data, model, shape)
    batches = _batches(model, shape, check_data) if check else []
    metadata = describe(model)
    modules = [] if keras.backend.backend() == "tensorflow" else modules_of(model)

    suffix = SUFFIXES[format]  # as the converters expect it, where the user's is in capitals
    source = float32_copy(model) if precision_of(model) != "float32" else model
    reference = source
    if fuse and can_fuse(source):
        source = fuse_model(source)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        beside = Path(folder) / (f"{path.stem}{suffix}" if suffix else path.name)
        fused = source is not reference
        arguments = format, shape, quantize, representative_data, fused, integer_only
        _write(source, beside, arguments, modules, verbose)
        in_float = _in_float(beside) if format == "litert" else []
        if integer_only:
            _check_integers(in_float)
        write_metadata(beside, format, metadata, model.name)
        measures, operators = {}, ()
        modes = sorted({layer.quantization_mode for layer in quantized_layers(model)})
        precision = quantize or next(iter(modes), "float32")
        if check:
            measures, operators = _measure(reference, beside, format, shape, batches, precision)
            if reference is not model:
                checks.check_copy(model, reference, batches)
        over = checks.exceeded(measures, precision)
        target = path.with_name(f"{path.stem}.rejected{path.suffix}") if over else path
        _move(beside, target)
    if over:
        raise ValueError(
            f"The exported file computes something else than Keras: {'; '.join(over)}. It is kept "
            f"as {target}."
        )
    in_float = tuple(sorted({each.name for each in in_float}))
    size = _size(target)
    exported = Exported(target, format, precision, shape, size, operators, measures, in_float)
    if verbose:
        print(exported)
    return exported


# --- Arguments --------------------------------------------------------------------------------


def check_target(path: Any, format: str | None) -> tuple[Path, str]:
    """Return the path and the name of the format, if such a file can be written there.

    Args:
        path: str or Path. What the user gave as `path`.
        format: str. What the user gave as `format`.

    Returns:
        tuple. The path as a `Path`, and a key of `SUFFIXES`.

    Raises:
        ValueError: If there is no such format, or the path has another suffix.
        OSError: If nothing can be written there, or something else would be replaced.

    Example:
    >>> path, format = check_target("model.onnx", None)
    >>> path.name, format
    ('model.onnx', 'onnx')
    """
    path = named_path(path)
    name = resolve_format(path, format)
    suffixes = [path.suffix if SUFFIXES[name] else "", ".bin" if name == "openvino" else ""]
    check_folder(path, list(filter(None, suffixes)))
    if name == "tf_saved_model":
        _check_replaced(path)
    return path, name


def _check_replaced(folder: Path) -> None:
    """Raise an error if a SavedModel would replace other files than those of a SavedModel."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "saved_model.pb").is_file():
        raise FileExistsError(f"{folder} exists and is no SavedModel, which a new one may replace")
    parts = (".", "variables", SAVED_MODEL_FOLDER)
    found = [file for part in parts for file in (folder / part).glob("*")]
    names = sorted(file.relative_to(folder).as_posix() for file in found)
    others = [name for name in names if not any(fnmatchcase(name, x) for x in SAVED_MODEL_FILES)]
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise FileExistsError(
            f"{folder} holds other files than those of a SavedModel, which a new one would "
            f"replace: {', '.join(others[:3])}{more}"
        )


def check_quantization(
    format: str, quantize: Any, representative_data: Any, integer_only: Any = None
) -> None:
    """Raise an error unless a format has a precision, and images are given with "int8" alone.

    Args:
        format: str. A key of `SUFFIXES`.
        quantize: Any. What the user gave as `quantize`.
        representative_data: Any. What the user gave as `representative_data`.
        integer_only: Any. What the user gave as `integer_only`.

    Raises:
        ValueError: If the format doesn't have that precision, `representative_data` is given
            without "int8" or missing for it, or `integer_only` is given without "int8".

    Example:
    >>> check_quantization("litert", "float16", None)
    >>> check_quantization("onnx", "float16", None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: `quantize` must be one of ('float16', 'dynamic', 'int8'), for LiteRT alone. ...
    """
    if quantize not in (None, *QUANTIZED) or (quantize is not None and format != "litert"):
        raise ValueError(
            f"`quantize` must be one of {QUANTIZED}, for LiteRT alone. "
            f"Received: quantize={quantize!r}, for {format}"
        )
    if (quantize == "int8") != (representative_data is not None):
        raise ValueError(
            '`representative_data` and quantize="int8" go together. Received: '
            f"quantize={quantize!r}, representative_data={received(representative_data)}"
        )
    if integer_only not in (None, True, False) or (integer_only is not None and quantize != "int8"):
        raise ValueError(
            '`integer_only` must be True, False or None, and goes with quantize="int8" alone. '
            f"Received: integer_only={integer_only!r}, quantize={quantize!r}"
        )


def _check_format_of_model(model: keras.Model, format: str, quantize: str | None) -> None:
    """Raise an error if a model can't be written in a format or in that precision."""
    if _detects(model) and format == "openvino":
        raise ValueError(
            "A Mask R-CNN can be exported as tf_saved_model, litert or onnx. Received: openvino"
        )
    if _detects(model) and quantize == "int8":  # TensorFlow's calibration ends the process
        raise ValueError(
            'A Mask R-CNN can\'t be written in int8; leave out `quantize`, or pass "float16". '
            f"Received: quantize={quantize!r}"
        )
    modes = {layer.quantization_mode for layer in quantized_layers(model)}
    if modes and format == "litert":
        raise ValueError(
            "LiteRT's converter doesn't take Keras's quantized layers; export the float model with "
            f"`quantize`. Received: a model quantized to {', '.join(sorted(modes))}"
        )


def _detects(model: keras.Model) -> bool:
    """Return whether a model is a detector of this library or contains one."""
    return any(
        keras.saving.get_registered_name(type(layer)).startswith(PACKAGE)
        and hasattr(layer, "bounding_box_format")
        for layer in model._flatten_layers()
    )


def _file_shape(model: keras.Model, format: str, image_size: Any, batch_size: Any) -> tuple:
    """Return the shape of the file's input."""
    batch, *sides, channels = input_shape(model, image_size, batch_size)
    if format == "litert" and None in sides:
        raise ValueError(
            "A LiteRT file has one image size; pass `image_size`, such as image_size=224. "
            f"Received: image_size=None, and a model of inputs {model.inputs[0].shape}"
        )
    return (batch or (1 if format == "litert" else None), *sides, channels)


def _batches(model: keras.Model, shape: tuple, check_data: Any) -> list[np.ndarray]:
    """Return the images for the check, an array for each size."""
    if check_data is None:
        dtype = in_float32(model.inputs[0].dtype, of_dtype=True)
        return [images.astype(dtype) for images in checks.check_images(model, shape)]
    images = given_images("check_data", check_data, model, shape)
    if len(images) % (shape[0] or 1):
        raise ValueError(
            f"`check_data` must be images of the file's inputs {shape}, in whole batches. "
            f"Received: an array of shape {images.shape}"
        )
    return [images]


# --- Writing and checking ---------------------------------------------------------------------


def _write(
    model: keras.Model, path: Path, arguments: tuple, modules: list[str], verbose: bool
) -> None:
    """Write a model in this process, or in one of TensorFlow where the backend is another."""
    format, backend = arguments[0], keras.backend.backend()
    if backend != "tensorflow" and verbose:
        name = BACKEND_NAMES.get(backend, backend)
        print(f"{name} can't write {format} whole: written by TensorFlow")
    try:
        if backend == "tensorflow":
            with quiet():
                write(model, path, *arguments)
        else:
            _write_elsewhere(model, path, *arguments, modules)
    except OSError:
        raise
    except Exception as error:  # of every kind, by the converter
        raise RuntimeError(f"{format} can't be written: {sentence(error)}") from error


def _write_elsewhere(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    quantize: str | None,
    representative_data: np.ndarray | None,
    fused: bool,
    integer_only: bool | None,
    modules: list[str],
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
            "modules": modules,
            "path": str(path.absolute()),
            "format": format,
            "shape": shape,
            "quantize": quantize,
            "representative_data": data,
            "fused": fused,
            "integer_only": integer_only,
        }
        script = Path(folder) / "specification.json"
        script.write_text(json.dumps(specification), encoding="utf-8")
        run_on("tensorflow", "keras_paca.deploy.write", str(script))


def _in_float(path: Path) -> list[Operator]:
    """Return the operators of a LiteRT file that compute in floating point."""
    return [each for each in read_operators(path.read_bytes()) if each.is_float]


def _check_integers(in_float: list[Operator]) -> None:
    """Raise an error if other operators than the last compute in floating point."""
    names = sorted({each.name for each in in_float if not each.is_last})
    if names:
        raise ValueError(
            "The model can't be written in integers throughout: in int8, "
            f"{', '.join(names)} would lose too much or have no kernel. Leave out `integer_only` "
            "to keep them in float. Received: integer_only=True"
        )


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
    """Move a complete file or folder to its place and replace what is there."""
    if source.is_dir():
        _check_replaced(target)  # again: the work took a while, and a rejected one goes elsewhere
        old = source.with_name(f"{source.name}.old")
        if target.exists():
            target.replace(old)  # within the folder that is deleted afterwards
        source.replace(target)
        return
    weights = source.with_suffix(".bin")
    if source.suffix == ".xml" and weights.exists():
        weights.replace(target.with_suffix(".bin"))
    source.replace(target)


def _size(path: Path) -> int:
    """Return the size in bytes of the file, with OpenVINO's weights, or of the folder."""
    files = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.exists())
