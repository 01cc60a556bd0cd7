"""Writing one model to ONNX, by way of a SavedModel, with operators that have fast kernels."""

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.norms import kind_of, make_constant, rewrite_layer_norms

OPSET = 18  # of ONNX, from 2022
# Optimizers of tf2onnx that aren't used. The first loses the reshape after a matrix product if the
# height and the width are unknown. The second moves transposes from the convolutions into the
# residual path, where more of them are needed.
UNUSED_OPTIMIZERS = ("reshape_optimizer", "optimize_transpose")


def write_onnx(model: keras.Model, path: Path, signature: list) -> None:
    """Write a model to an ONNX file, by way of a SavedModel.

    `Model.export` to ONNX would turn the constants of layers such as `Normalization` into inputs.

    Args:
        model: keras.Model. The model, on TensorFlow.
        path: Path. The file. It must not exist yet.
        signature: list of keras.InputSpec. The input, with its name.

    Raises:
        ValueError: If ONNX lacks an operator of the model.

    Example:
    >>> import onnx
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(4, "relu")])
    >>> signature = [keras.InputSpec(shape=(1, 8, 8, 3), dtype="float32", name="image")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_onnx(model, Path(folder) / "model.onnx", signature)
    ...     graph = onnx.load(f"{folder}/model.onnx").graph
    >>> [node.name for node in graph.input], [node.name for node in graph.output]
    (['image'], ['output_0'])
    """
    import onnx
    import tensorflow as tf
    import tf2onnx
    import tf2onnx.optimizer
    from tensorflow.python.framework import convert_to_constants

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, input_signature=signature, verbose=False)
        loaded = tf.saved_model.load(folder)  # this reference keeps the variables alive
        serve = loaded.signatures["serving_default"]
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            serve, lower_control_flow=False
        )
    names = [name for name, _ in sorted(serve.structured_outputs.items())]
    renamed = dict(zip((tensor.name for tensor in frozen.outputs), names, strict=True))
    (entry,) = frozen.inputs
    optimizers = tf2onnx.optimizer._optimizers
    every = dict(optimizers)
    for name in UNUSED_OPTIMIZERS:
        optimizers.pop(name, None)
    try:
        converted, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            name=model.name,
            input_names=[entry.name],
            output_names=list(renamed),
            tensors_to_rename={entry.name: signature[0].name, **renamed},
            opset=OPSET,
            custom_rewriter=[rewrite_layer_norms, _error_functions],
        )
    finally:
        optimizers.clear()  # their order matters
        optimizers.update(every)
    missing = sorted(_unknown_operators(converted.graph))
    if missing:
        raise ValueError(f"ONNX has no operator for TensorFlow's {', '.join(missing)}")
    onnx.save(converted, str(path))


def _unknown_operators(graph: Any) -> set[str]:
    """Return the operators that tf2onnx left unconverted without an error."""
    import onnx

    found = {node.op_type for node in graph.node if not node.domain}
    found = {name for name in found if not onnx.defs.has(name)}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _unknown_operators(attribute.g)
    return found


def _error_functions(graph: Any, nodes: list) -> list:
    """Replace erfc(x), which ONNX lacks, by 1 - erf(x), and erfc(-x / c) by 1 + erf(x / c).

    The latter is part of TensorFlow's exact GELU, x / 2 erfc(-x / sqrt(2)). Runtimes recognise the
    GELU in the form with erf, which saves a pass over the map.
    """
    from tf2onnx import utils
    from tf2onnx.graph_matcher import GraphMatcher, OpTypePattern

    negative = OpTypePattern("Neg", inputs=[OpTypePattern("*", name="x")])
    factor = OpTypePattern("Const|ConstV2", name="factor")
    gelu = OpTypePattern("Erfc", inputs=[OpTypePattern("Mul", inputs=[negative, factor])])
    matcher = GraphMatcher(gelu, allow_reorder=True)
    for last in [node for node in nodes if node.type == "Erfc"]:
        kind = kind_of(graph, last)
        dtype = utils.map_onnx_to_numpy_type(kind["dtypes"][0])
        argument = last.input[0]
        match = matcher.match_op(last)
        if match:
            factors = match.get_op("factor").get_tensor_value(False).astype("float64")
            divisor = make_constant(graph, "divisor", (1 / factors).astype(dtype))
            argument = graph.make_node("Div", [match.get_tensor("x"), divisor], **kind).output[0]
        one = make_constant(graph, "one", np.array(1, dtype))
        graph.remove_node(last.name)
        erf = graph.make_node("Erf", [argument], **kind).output[0]
        kind |= {"name": last.name, "outputs": last.output}
        if match:
            graph.make_node("Add", [erf, one], **kind)
        else:
            graph.make_node("Sub", [one, erf], **kind)
    return graph.get_nodes()
