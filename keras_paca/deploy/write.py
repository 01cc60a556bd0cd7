"""Writing one model to one file, in a process whose backend is TensorFlow.

Run as `python -m keras_paca.deploy.write SPECIFICATION.json`.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.depthwise import depthwise_of_format
from keras_paca.deploy.norms import norms_of_format
from keras_paca.deploy.write_int8 import write_int8
from keras_paca.deploy.write_onnx import write_onnx

QUANTIZED = ("float16", "dynamic", "int8")  # precisions of a LiteRT file


def write(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    quantize: str | None = None,
    representative_data: np.ndarray | None = None,
    fused: bool = False,
    integer_only: bool | None = None,
) -> None:
    """Write a model in inference to a file, by `Model.export`.

    Args:
        model: keras.Model. The model.
        path: Path. The file, or for "tf_saved_model" the folder. It must not exist yet.
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        shape: tuple. Shape of the input, (batch, height, width, channels), `None` for any size.
        quantize: str. One of `QUANTIZED`, for LiteRT, or `None`.
        representative_data: np.ndarray. Images from which the ranges of "int8" are computed.
        fused: bool. Whether the model is a copy made by `keras_paca.fuse`, which may be changed.
        integer_only: bool. For "int8", whether it is in integers throughout; by default where that
            is precise enough. See `keras_paca.deploy.write_int8`.

    Example:
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(model, Path(folder) / "model", "tf_saved_model", (None, 8, 8, 3))
    ...     (Path(folder) / "model" / "saved_model.pb").exists()
    True
    """
    (entry,) = model.inputs
    signature = [keras.InputSpec(shape=shape, dtype=entry.dtype, name=entry.name)]
    in_form = depthwise_of_format(model, format, quantize)
    with norms_of_format(model, format, fused), in_form:
        if format == "onnx":
            write_onnx(model, path, signature)
        elif format == "litert":
            if quantize == "int8":
                write_int8(model, path, signature, representative_data, integer_only)
            else:
                _write_litert(model, path, signature, quantize)
        else:
            model.export(str(path), format=format, input_signature=signature, verbose=False)
    if format == "openvino":
        _keep_outputs(path)


def _write_litert(model: keras.Model, path: Path, signature: list, quantize: str | None) -> None:
    """Write a LiteRT file with built-in operators only, in one of the precisions but int8."""
    import tensorflow as tf

    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    model.export(
        str(path),
        format="litert",
        input_signature=signature,
        verbose=False,
        target_spec=target,
        optimizations=[] if quantize is None else [tf.lite.Optimize.DEFAULT],
    )


def _keep_outputs(path: Path) -> None:
    """Remove the sizes that OpenVINO's converter adds to the outputs; nothing reads them."""
    import openvino

    model = openvino.Core().read_model(path)
    kept = [
        result
        for result in model.get_results()
        if any(name.startswith("Identity") for name in result.input(0).get_tensor().get_names())
    ]
    if len(kept) == len(model.outputs):
        return
    kept = openvino.Model(kept, model.get_parameters(), model.get_name())
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        beside = Path(folder) / path.name
        openvino.serialize(kept, str(beside))
        del model, kept  # they hold the file open
        for suffix in (".xml", ".bin"):
            beside.with_suffix(suffix).replace(path.with_suffix(suffix))


def _main() -> None:
    """Load a saved model and write it as the specification says."""
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for module in specification["modules"]:  # they register their classes
        importlib.import_module(module)
    model = keras.saving.load_model(specification["model"], compile=False)
    data = specification["representative_data"]
    write(
        model,
        Path(specification["path"]),
        specification["format"],
        tuple(specification["shape"]),
        specification["quantize"],
        None if data is None else np.load(data),
        specification["fused"],
        specification["integer_only"],
    )


if __name__ == "__main__":
    _main()
