"""One model to one file, in a process whose backend is TensorFlow.

Called as `python -m keras_paca.deploy.write SPECIFICATION.json`.
"""

import contextlib
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.deploy.write_onnx import write_onnx
from keras_paca.layers.mean_free import mean_free_norms

QUANTIZED = ("float16", "dynamic", "int8")  # forms of a LiteRT file
# What stays in float beside int8. A softmax's integers are steps of 1/256, more than the share of a
# patch in a cluster. Sums and scales of norms and residuals are faster in float.
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
    mean_free: bool = False,
) -> None:
    """Write a model's inference to a file, by `Model.export`.

    Args:
        model: the model.
        path: the file, or for "tf_saved_model" the folder, that doesn't exist yet.
        format: "tf_saved_model", "litert", "onnx" or "openvino".
        shape: of the input, (batch, height, width, channels), `None` where any.
        quantize: `None`, or for LiteRT one of `QUANTIZED`.
        representative_data: images that "int8" learns the ranges from.
        mean_free: whether the model's blocks are centred, so that norms needn't look for a mean.
            ONNX has an operator for layer norms as they are.
    """
    (entry,) = model.inputs
    signature = [keras.InputSpec(shape=shape, dtype=entry.dtype, name=entry.name)]
    if format == "onnx":
        write_onnx(model, path, signature)
    else:
        with mean_free_norms() if mean_free else contextlib.nullcontext():
            if format == "litert":
                with _norms_by_centring():
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
    """Write LiteRT with built-in operators alone, in one of its precisions."""
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
    """Write LiteRT in int8: convolutions and projections, what `IN_FLOAT` names in float.

    TensorFlow lets its debugger alone choose by operator.
    """
    import tensorflow as tf

    def data() -> Iterator[list]:
        batch = signature[0].shape[0]
        for start in range(0, len(images), batch):
            chosen = np.arange(start, start + batch) % len(images)  # the last one is filled up
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


@contextlib.contextmanager
def _norms_by_centring() -> Iterator[None]:
    """Have Keras's layer norms traced as y = d / sqrt(mean(d^2) + epsilon), d = x - mean(x).

    Keras's own form takes a pass more over the map, and squares a difference in one operator, for
    which LiteRT has nothing but a slow kernel in int8.
    """
    original = keras.layers.LayerNormalization.call

    def call(self: keras.layers.LayerNormalization, x: Any) -> Any:
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        if self.rms_scaling or [axis % x.ndim for axis in axes] != [x.ndim - 1]:
            return original(self, x)
        x = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        # a product, as the converter makes a squared difference of a square
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        y = centred * ops.rsqrt(variance + self.epsilon)
        y = y if self.gamma is None else y * ops.cast(self.gamma, y.dtype)
        y = y if self.beta is None else y + ops.cast(self.beta, y.dtype)
        return ops.cast(y, self.compute_dtype)

    keras.layers.LayerNormalization.call = call
    try:
        yield
    finally:
        keras.layers.LayerNormalization.call = original


def _keep_outputs(path: Path) -> None:
    """Drop what OpenVINO's converter takes for outputs: sizes that nothing else reads."""
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


def main() -> None:
    """Load a saved model and write it, as the specification says."""
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
        specification["mean_free"],
    )


if __name__ == "__main__":
    main()
