"""How layer norms are written into a file, for each format; decided here and nowhere else.

| format         | a layer norm                             |
| -------------- | ---------------------------------------- |
| tf_saved_model | as Keras computes it                     |
| openvino       | as Keras computes it                     |
| litert         | d / sqrt(mean(d d) + e), d = x - mean(x) |
| onnx           | one `LayerNormalization`                 |

TensorFlow and OpenVINO join the operations of Keras's form by themselves. On LiteRT, that form
takes one more pass and squares a difference in one operator, for which there is only a slow kernel
in int8. The runtimes of ONNX have a kernel for the operator.

Except in ONNX, the norms of blocks whose maps have the mean 0 over the channels (see
`keras_paca.inference.mean_free`) are x / sqrt(mean(x x) + e). Measured by
`python benchmarks/fused.py litert onnx openvino tf_saved_model`.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.inference.mean_free import (
    center_weights,
    is_over_channels,
    mean_free_blocks,
    subtract_mean,
)
from keras_paca.ops import to_float32

MEAN_FREE = ("tf_saved_model", "openvino", "litert")


@contextlib.contextmanager
def norms_of_format(model: keras.Model, format: str, fused: bool) -> Iterator[None]:
    """Let the layer norms of a model compute what a format needs, while it is traced.

    Args:
        model: keras.Model. The model. If it is fused, the weights of some of its blocks are changed
            permanently.
        format: str. "tf_saved_model", "litert", "onnx" or "openvino".
        fused: bool. Whether the model is a copy made by `keras_paca.fuse`.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization()])
    >>> with norms_of_format(model, "litert", fused=False):
    ...     tuple(model(ops.ones((2, 4))).shape)
    (2, 4)
    """
    blocks = mean_free_blocks(model) if fused and format in MEAN_FREE else {}
    center_weights(blocks)
    without_mean = {id(x) for block in blocks for x in (block.norm1_before, block.norm2_before)}
    with contextlib.ExitStack() as stack:
        for block, may_have_mean in blocks.items():
            if may_have_mean:
                stack.enter_context(_called_as(block, _after_subtraction(block.call)))
        for layer in model._flatten_layers():
            if id(layer) in without_mean:
                stack.enter_context(_called_as(layer, _root_mean_square(layer)))
            elif format == "litert" and isinstance(layer, keras.layers.LayerNormalization):
                stack.enter_context(_called_as(layer, _without_squared_difference(layer)))
        yield


@contextlib.contextmanager
def _called_as(layer: keras.layers.Layer, call: Callable[..., Any]) -> Iterator[None]:
    """Replace the `call` of one layer."""
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _after_subtraction(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda inputs, *args, **kwargs: call(subtract_mean(inputs), *args, **kwargs)


def _root_mean_square(norm: Any) -> Callable[[Any], Any]:
    def call(inputs: Any) -> Any:
        x = to_float32(inputs)
        x = ops.rms_normalization(x, norm.gamma, axis=-1, epsilon=norm.epsilon)
        x = x if norm.beta is None else x + ops.cast(norm.beta, x.dtype)
        return ops.cast(x, norm.compute_dtype)

    return call


def _without_squared_difference(norm: Any) -> Callable[[Any], Any]:
    original = norm.call

    def call(inputs: Any) -> Any:
        if not is_over_channels(norm, inputs.ndim):
            return original(inputs)
        x = to_float32(inputs)
        d = x - ops.mean(x, axis=-1, keepdims=True)
        # a product, because the converter turns a square into a squared difference
        y = d * ops.rsqrt(ops.mean(d * d, axis=-1, keepdims=True) + norm.epsilon)
        y = y if norm.gamma is None else y * ops.cast(norm.gamma, y.dtype)
        y = y if norm.beta is None else y + ops.cast(norm.beta, y.dtype)
        return ops.cast(y, norm.compute_dtype)

    return call


# --- ONNX ---------------------------------------------------------------------------------------


def rewrite_layer_norms(graph: Any, nodes: list) -> list:
    """Replace the twelve operators of Keras's layer normalization by one `LayerNormalization`.

    Keras computes y = x inv + (-mean inv + beta), where inv = gamma / sqrt(variance + epsilon).

    Args:
        graph: tf2onnx.graph.Graph. The graph.
        nodes: list. Its nodes.

    Returns:
        list. The new nodes.

    Example:
    >>> import tensorflow as tf
    >>> import tf2onnx
    >>> norm = keras.layers.LayerNormalization()
    >>> norm.build((2, 4))
    >>> function = tf.function(norm, input_signature=[tf.TensorSpec((2, 4))])
    >>> converted, _ = tf2onnx.convert.from_function(
    ...     function, function.input_signature, opset=18, custom_rewriter=[rewrite_layer_norms]
    ... )
    >>> [node.op_type for node in converted.graph.node]
    ['LayerNormalization']
    """
    from tf2onnx.graph_matcher import GraphMatcher, OpTypePattern

    def pattern(op: str, *inputs: Any, name: str | None = None) -> Any:
        return OpTypePattern(op, name=name, inputs=list(inputs))

    def constant(name: str) -> Any:
        return OpTypePattern("Const|ConstV2", name=name)

    mean = pattern("Mean", OpTypePattern("*", name="mean_of"), constant("axis"), name="mean")
    squared = OpTypePattern("*", name="squared_of")
    squares = pattern("SquaredDifference", squared, pattern("StopGradient", mean))
    variance = pattern("Mean", squares, constant("variance_axis"))
    inverse = pattern("Rsqrt", pattern("AddV2|Add", variance, constant("epsilon")))
    scaled = pattern("Mul", inverse, constant("gamma"))
    negative = pattern("Neg", OpTypePattern("Mean", name="negative_of"))
    x = OpTypePattern("*", name="x")
    for factor in (scaled, inverse):
        product, shifted = pattern("Mul", x, factor), pattern("Mul", negative, factor)
        for shift in (pattern("AddV2|Add", shifted, constant("beta")), shifted):
            norm = pattern("AddV2|Add", product, shift)
            for match in list(GraphMatcher(norm, allow_reorder=True).match_ops(nodes)):
                _layer_norm(graph, match.get_op(norm), match)
    return graph.get_nodes()


def _layer_norm(graph: Any, last: Any, match: Any) -> None:
    """Replace the operators that end in `last` by one, if they are exactly a layer norm."""
    x, shape = match.get_tensor("x"), graph.get_shape(last.output[0])
    same = {match.get_tensor(name) for name in ("mean_of", "squared_of")} == {x}
    same = same and match.get_op("mean") is match.get_op("negative_of")
    if not same or not shape or shape[-1] < 0:
        return
    for name in ("axis", "variance_axis"):
        axes = np.ravel(match.get_op(name).get_tensor_value())
        if [axis % len(shape) for axis in axes] != [len(shape) - 1]:
            return
    parts = []
    for name, default in (("gamma", 1.0), ("beta", 0.0)):
        given = match.get_op(name)
        value = np.full(shape[-1], default) if given is None else given.get_tensor_value(False)
        if np.size(value) != shape[-1]:
            return
        parts.append(make_constant(graph, name, np.reshape(value, -1).astype("float32")))
    epsilon = float(match.get_op("epsilon").get_tensor_value())
    kind = kind_of(graph, last)
    graph.remove_node(last.name)
    graph.make_node(
        "LayerNormalization",
        [x, *parts],
        attr={"axis": -1, "epsilon": epsilon},
        name=last.name,
        outputs=last.output,
        **kind,
    )


def kind_of(graph: Any, node: Any) -> dict:
    """Return the shape and the type of a node's output as arguments of `make_node`.

    Args:
        graph: tf2onnx.graph.Graph. The graph.
        node: tf2onnx.graph.Node. A node with one output.

    Returns:
        dict.

    Example:
    >>> from tf2onnx.graph import Graph
    >>> graph = Graph([])
    >>> node = graph.make_const("ones", np.ones((2, 3), "float32"))
    >>> kind_of(graph, node)  # 1 is ONNX's number of float32
    {'shapes': [[2, 3]], 'dtypes': [1]}
    """
    (output,) = node.output
    return {"shapes": [graph.get_shape(output)], "dtypes": [graph.get_dtype(output)]}


def make_constant(graph: Any, name: str, value: np.ndarray) -> str:
    """Add a constant to a graph.

    Args:
        graph: tf2onnx.graph.Graph. The graph.
        name: str. Beginning of the constant's name.
        value: np.ndarray. The value.

    Returns:
        str. The name of the constant's output.

    Example:
    >>> from tf2onnx.graph import Graph
    >>> graph = Graph([])
    >>> graph.get_shape(make_constant(graph, "ones", np.ones((2, 3), "float32")))
    [2, 3]
    """
    from tf2onnx import utils

    return graph.make_const(utils.make_name(name), value).output[0]
