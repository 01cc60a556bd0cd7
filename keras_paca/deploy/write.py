"""Writing one model to one file, in a process whose backend is TensorFlow.

Run as `python -m keras_paca.deploy.write SPECIFICATION.json`.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.norms import norms_of_format
from keras_paca.deploy.write_onnx import write_onnx

QUANTIZED = ("float16", "dynamic", "int8")  # precisions of a LiteRT file
# Operators that stay in float in an int8 file. In int8, the outputs of a softmax are multiples of
# 1/256, which is more than the share of most patches in a cluster. The sums and scales of norms and
# residuals are faster in float.
IN_FLOAT = (
    "SOFTMAX",
    "BATCH_MATMUL",
    "ADD",
    "SUB",
    "MUL",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "MEAN",
    "RSQRT",
)


def write(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    quantize: str | None = None,
    representative_data: np.ndarray | None = None,
    fused: bool = False,
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

    Example:
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(model, Path(folder) / "model", "tf_saved_model", (None, 8, 8, 3))
    ...     (Path(folder) / "model" / "saved_model.pb").exists()
    True
    """
    (entry,) = model.inputs
    signature = [keras.InputSpec(shape=shape, dtype=entry.dtype, name=entry.name)]
    with norms_of_format(model, format, fused):
        if format == "onnx":
            write_onnx(model, path, signature)
        elif format == "litert":
            _write_litert(model, path, signature, quantize, representative_data)
        else:
            model.export(str(path), format=format, input_signature=signature, verbose=False)
    if format == "openvino":
        _keep_outputs(path)


def _write_litert(
    model: keras.Model,
    path: Path,
    signature: list,
    quantize: str | None,
    images: np.ndarray | None,
) -> None:
    """Write a LiteRT file with built-in operators only, in one of the precisions."""
    import tensorflow as tf

    if quantize == "int8":
        _write_int8(model, path, signature, images)
        return
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


def _write_int8(model: keras.Model, path: Path, signature: list, images: np.ndarray) -> None:
    """Write a LiteRT file in int8, with the operators in `IN_FLOAT` in float.

    Only TensorFlow's quantization debugger can choose by operator.
    """
    import tensorflow as tf

    def data() -> Iterator[list]:
        batch = signature[0].shape[0]
        for start in range(0, len(images), batch):
            chosen = np.arange(start, start + batch) % len(images)  # the last batch is filled up
            yield [images[chosen]]

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = data
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter,
            debug_dataset=data,
            debug_options=tf.lite.experimental.QuantizationDebugOptions(
                denylisted_ops=list(IN_FLOAT)
            ),
        )
        path.write_bytes(debugger.get_nondebug_quantized_model())


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
    )


if __name__ == "__main__":
    _main()
