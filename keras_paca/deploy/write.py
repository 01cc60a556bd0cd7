"""One model to one file, in a process whose backend is TensorFlow.

Called as `python -m keras_paca.deploy.write SPECIFICATION.json`.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

OPSET = 18  # of ONNX, from 2022
QUANTIZED = ("float16", "dynamic", "int8")  # forms of a LiteRT file


def write(
    model: keras.Model,
    path: Path,
    format: str,
    shape: tuple,
    quantize: str | None = None,
    representative_data: np.ndarray | None = None,
) -> None:
    """Write a model's inference to a file, by `Model.export`.

    Args:
        model: the model.
        path: the file, or for "tf_saved_model" the folder, that doesn't exist yet.
        format: "tf_saved_model", "litert", "onnx" or "openvino".
        shape: of the input, (batch, height, width, channels), `None` where any.
        quantize: `None`, or for LiteRT one of `QUANTIZED`.
        representative_data: images that "int8" learns the ranges from.
    """
    (entry,) = model.inputs
    signature = [keras.InputSpec(shape=shape, dtype=entry.dtype, name=entry.name)]
    options = {}
    if format == "litert":
        options = _litert_options(quantize, representative_data)
    if format == "onnx":
        _write_onnx(model, path, signature)
        return
    model.export(str(path), format=format, input_signature=signature, verbose=False, **options)
    if format == "openvino":
        _keep_outputs(path)


def _litert_options(quantize: str | None, representative_data: np.ndarray | None) -> dict:
    """Return what the converter is told: built-in operators alone, and the precision."""
    import tensorflow as tf

    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    options: dict[str, Any] = {"target_spec": target}
    if quantize is not None:
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        target["supported_types"] = [tf.float16]
    if quantize == "int8":

        def images() -> Any:
            for image in representative_data:
                yield [image[None]]

        options["representative_dataset"] = images
    return options


def _write_onnx(model: keras.Model, path: Path, signature: list) -> None:
    """Write ONNX by way of a SavedModel, whose constants, inputs and outputs have their places.

    `Model.export` to ONNX makes inputs of constants that a layer holds, as `Normalization` does.
    """
    import tensorflow as tf
    import tf2onnx
    import tf2onnx.optimizer
    from tensorflow.python.framework import convert_to_constants

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, input_signature=signature, verbose=False)
        loaded = tf.saved_model.load(folder)  # which keeps the variables
        serve = loaded.signatures["serving_default"]
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            serve, lower_control_flow=False
        )
    names = [name for name, _ in sorted(serve.structured_outputs.items())]
    renamed = dict(zip((tensor.name for tensor in frozen.outputs), names, strict=True))
    (entry,) = frozen.inputs
    # It loses the reshape behind a matrix product where height and width are unknown.
    optimizers = tf2onnx.optimizer._optimizers
    faulty = optimizers.pop("reshape_optimizer", None)
    try:
        tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            name=model.name,
            input_names=[entry.name],
            output_names=list(renamed),
            tensors_to_rename={entry.name: signature[0].name, **renamed},
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
            output_path=str(path),
        )
    finally:
        if faulty is not None:
            optimizers["reshape_optimizer"] = faulty


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Write TensorFlow's `Erfc`, of the exact GELU, which ONNX lacks, as 1 - erf(x)."""
    from tf2onnx import utils

    shape, dtype = context.get_shape(node.output[0]), context.get_dtype(node.output[0])
    one = np.array(1, utils.map_onnx_to_numpy_type(dtype))
    one = context.make_const(utils.make_name("one"), one).output[0]
    context.remove_node(node.name)
    kind = {"shapes": [shape], "dtypes": [dtype]}
    erf = context.make_node("Erf", [node.input[0]], **kind).output[0]
    context.make_node("Sub", [one, erf], name=node.name, outputs=node.output, **kind)


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
    )


if __name__ == "__main__":
    main()
