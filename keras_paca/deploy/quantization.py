"""A report of what `Model.quantize` changed: the layers of a model, and its outputs."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca.deploy.arguments import image_sides, input_shape
from keras_paca.deploy.check import centred_logits
from keras_paca.layers import DepthwiseConv2D

DEFAULT_SIDE = 224  # of images, where neither the caller nor the model fixes it
# The ends of the names of variables that quantization adds.
QUANTIZATION_SUFFIXES = ("_scale", "_zero", "_history", "g_idx")


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The weights and multiply-accumulates of one layer, without those of the layers inside it.

    Attributes:
        path: str. The names of the layers around it and its own, separated by "/".
        kind: str. Name of its class.
        mode: str. "int8", "int4" and so on, or `None` where it isn't quantized.
        quantized_inputs: bool. Whether its inputs are quantized too, not its weights alone.
        weights: int. Number of its weights, however they are stored.
        quantized_weights: int. Number of those stored as integers.
        macs: int. Multiply-accumulates for one image, or `None` where the layer has a kernel and
            they can't be counted.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> layer = keras_paca.quantization_report(model).layers[0]
    >>> layer.path, layer.kind, layer.weights, layer.macs
    ('stem/conv1', 'Conv2D', 112, 27648)
    """

    path: str
    kind: str
    mode: str | None
    quantized_inputs: bool
    weights: int
    quantized_weights: int
    macs: int | None


@dataclasses.dataclass(frozen=True)
class OutputChange:
    """The change of an output x from the float model's output y.

    Attributes:
        relative_error: float. ‖x - y‖ / ‖y‖ over all images; that of the logits where the model
            ends in a softmax.
        cosine: float. The cosine of x and y of an image, averaged over the images.
        top1_agreement: float. The share of images (of pixels, for maps) for which the largest
            number on the last axis, such as the class, is at the same index, in 0..1.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    >>> report = keras_paca.quantization_report(model, images, reference=model)
    >>> report.changes["outputs"].relative_error  # nothing is quantized yet
    0.0
    """

    relative_error: float
    cosine: float
    top1_agreement: float


@dataclasses.dataclass(frozen=True)
class QuantizationReport:
    """What is quantized in a model; `print` shows it as a table.

    Attributes:
        model: str. Name of the model.
        image_size: tuple of int. (height, width) for which multiply-accumulates are counted.
        layers: list of LayerCost. The layers that have weights or multiply, in the model's order.
        bytes: int. The size of its weights, including what quantization adds.
        changes: dict of str to OutputChange. The changes of the outputs by name. It is empty
            without images and a reference.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> model.get_layer("predictions").quantize("int8")
    >>> report = keras_paca.quantization_report(model)
    >>> print(str(report).splitlines()[-1])
    quantized: 0.1% of the weights, 0.0% of the multiply-accumulates
    """

    model: str
    image_size: tuple[int, int]
    layers: list[LayerCost]
    bytes: int
    changes: dict[str, OutputChange]

    @property
    def weights(self) -> int:
        """Number of the model's weights."""
        return sum(layer.weights for layer in self.layers)

    @property
    def quantized_weights(self) -> int:
        """Number of its weights that are stored as integers."""
        return sum(layer.quantized_weights for layer in self.layers)

    @property
    def weight_fraction(self) -> float:
        """`quantized_weights` over `weights`."""
        return self.quantized_weights / max(self.weights, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def quantized_macs(self) -> int:
        """Multiply-accumulates for one image in quantized layers."""
        return sum(layer.macs or 0 for layer in self.layers if layer.mode is not None)

    @property
    def mac_fraction(self) -> float:
        """`quantized_macs` over `macs`."""
        return self.quantized_macs / max(self.macs, 1)

    @property
    def uncounted(self) -> list[str]:
        """Paths of the layers that have a kernel but whose `macs` can't be counted."""
        return [layer.path for layer in self.layers if layer.macs is None]

    def __str__(self) -> str:
        rows = [("layer", "kind", "quantized", "weights", "M MACs")]
        for layer in self.layers:
            if layer.macs == 0:
                continue  # norms and the like: in the sum alone
            mode = layer.mode or "-"
            if layer.mode is not None and not layer.quantized_inputs:
                mode += " weights"
            macs = "?" if layer.macs is None else f"{layer.macs / 1e6:,.2f}"
            rows.append((layer.path, layer.kind, mode, f"{layer.weights:,}", macs))
        total = ("all layers", "", "", f"{self.weights:,}", f"{self.macs / 1e6:,.2f}")
        rows.append(total)
        widths = [max(len(row[i]) for row in rows) for i in range(len(total))]
        aligned = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, aligned))
        height, width = self.image_size
        lines = [
            f"{self.model}, {height} x {width}, {self.bytes / 1e6:,.2f} MB",
            rule,
            aligned[0],
            rule,
            *aligned[1:-1],
            rule,
            aligned[-1],
            f"quantized: {self.weight_fraction:.1%} of the weights, {self.mac_fraction:.1%} of the "
            "multiply-accumulates",
        ]
        if self.uncounted:
            lines.append(f"not counted: the multiply-accumulates of {', '.join(self.uncounted)}")
        lines += [
            f"{name}: relative error {change.relative_error:.2e}, cosine {change.cosine:.6f}, "
            f"top-1 agreement {change.top1_agreement:.1%}"
            for name, change in self.changes.items()
        ]
        return "\n".join(lines)


def quantization_report(
    model: keras.Model,
    images: Any = None,
    reference: Any = None,
    image_size: int | Sequence[int] | None = None,
) -> QuantizationReport:
    """Report what is quantized in a model, and how its outputs change.

    Multiply-accumulates are counted for dense layers, convolutions and the matrix products of
    attention, from the shapes in one run, and not for norms, activations, pooling and
    interpolation. A layer counts as quantized if its weights are.

    Args:
        model: keras.Model. A built model of one input (batch, height, width, channels), quantized
            or not.
        images: array. Images (n, height, width, channels) as the model takes them, on which
            outputs are compared.
        reference: keras.Model or array. The float model, or its outputs for `images`.
        image_size: int or (int, int). Height and width for which multiply-accumulates are counted;
            by default those of the images, or the model's own, and 224 where the model takes any.

    Returns:
        QuantizationReport. The costs of the layers and the changes of the outputs.

    Raises:
        ValueError: If only one of `images` and `reference` is given, their outputs have other
            names or shapes, or the model takes something else than images.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3))
    >>> images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    >>> scores = model.predict(images, verbose=0)
    >>> model.get_layer("predictions").quantize("int8")
    >>> report = keras_paca.quantization_report(model, images, reference=scores)
    >>> report.quantized_weights, report.changes["outputs"].cosine > 0.9
    (16, True)
    """
    if (images is None) != (reference is None):
        raise ValueError(
            "`images` and `reference` must be given together. Received: "
            f"images={'given' if images is not None else None}, reference={reference!r}"
        )
    shape = _input_shape(model, images, image_size)
    layers = _walk(model)
    macs = _count_macs(model, layers, shape)
    costs = [_cost(path, layer, macs[path]) for path, layer in layers.items()]
    return QuantizationReport(
        model=model.name,
        image_size=shape[1:3],
        layers=[cost for cost in costs if cost.weights or cost.macs],
        bytes=sum(_bytes(variable) for variable in model.weights),
        changes={} if images is None else _compare(model, images, reference),
    )


# --- Layers and their weights -----------------------------------------------------------------


def _input_shape(model: keras.Model, images: Any, image_size: Any) -> tuple[int, int, int, int]:
    """Return the shape of one image."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    inputs = getattr(model, "inputs", None)
    shapes = [tuple(x.shape) for x in inputs] if inputs else [np.shape(images)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "`model` must have one input (batch, height, width, channels), and where it isn't "
            f"functional `images` must be given. Received: {model!r} with inputs {shapes}"
        )
    if images is not None and len(np.shape(images)) != 4:
        raise ValueError(
            "`images` must be an array (n, height, width, channels). "
            f"Received: a {type(images).__name__} of shape {np.shape(images)}"
        )
    size = shapes[0][1:3] if images is None else np.shape(images)[1:3]
    if image_size is not None:
        size = input_shape(model, image_size)[1:3] if inputs else image_sides(image_size)
    return (1, *(side or DEFAULT_SIDE for side in size), shapes[0][3])


def _walk(owner: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return all layers inside a layer, each once, by their paths."""
    found: dict[str, keras.layers.Layer] = {}
    seen: set[int] = set()

    def visit(layer: keras.layers.Layer, start: str) -> None:
        for inside in layer._flatten_layers(include_self=False, recursive=False):
            if id(inside) in seen:
                continue
            seen.add(id(inside))
            path = start + inside.name
            while path in found:  # unnamed ones
                path += "'"
            found[path] = inside
            visit(inside, f"{path}/")

    visit(owner, "")
    return found


def _own_variables(layer: keras.layers.Layer) -> list[Any]:
    """Return the variables of a layer without those of the layers inside it."""
    inside = layer._flatten_layers(include_self=False)
    inner = {id(variable) for other in inside for variable in other.variables}
    own = [variable for variable in layer.weights if id(variable) not in inner]
    if layer.quantization_mode is not None:
        own = [v for v in own if not v.name.endswith(QUANTIZATION_SUFFIXES)]
    return own


def _cost(path: str, layer: keras.layers.Layer, macs: int) -> LayerCost:
    mode = layer.quantization_mode
    weights = quantized = 0
    kernel = False
    for variable in _own_variables(layer):
        size = math.prod(variable.shape)
        kernel = kernel or "kernel" in variable.name
        if "int" in keras.backend.standardize_dtype(variable.dtype) and mode is not None:
            if variable.name == "kernel":  # int4 lies packed
                size = math.prod(layer.kernel.shape)
            quantized += size
        weights += size
    counted = macs or not kernel or _rule(layer) is not None
    return LayerCost(
        path=path,
        kind=type(layer).__name__,
        mode=mode,
        quantized_inputs=mode == "float8" or getattr(layer, "inputs_quantizer", None) is not None,
        weights=weights,
        quantized_weights=quantized,
        macs=macs if counted else None,
    )


def _bytes(variable: Any) -> int:
    bits = re.search(r"\d+", keras.backend.standardize_dtype(variable.dtype))
    return math.prod(variable.shape) * (1 if bits is None else int(bits[0]) // 8)


# --- Multiply-accumulates ---------------------------------------------------------------------


def _dense_macs(layer: Any, inputs: tuple, outputs: tuple) -> int:
    return math.prod(outputs) * inputs[-1]


def _convolution_macs(layer: Any, inputs: tuple, outputs: tuple) -> int:
    return math.prod(outputs) * math.prod(layer.kernel.shape[:-1])


def _depthwise_macs(layer: Any, inputs: tuple, outputs: tuple) -> int:
    return math.prod(outputs) * math.prod(layer.kernel.shape[:-2])


def _transposed_macs(layer: Any, inputs: tuple, outputs: tuple) -> int:
    return math.prod(inputs) * math.prod(layer.kernel.shape[:-1])


MAC_RULES = (
    (keras.layers.Dense, _dense_macs),
    (DepthwiseConv2D, _depthwise_macs),
    ((keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D), _depthwise_macs),
    ((keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose), _transposed_macs),
    ((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), None),
    ((keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D), _convolution_macs),
)


def _rule(layer: keras.layers.Layer) -> Callable[[Any, tuple, tuple], int] | None:
    """Return the function that counts a layer's multiply-accumulates, `None` if unknown."""
    return next((rule for kinds, rule in MAC_RULES if isinstance(layer, kinds)), None)


def _count_macs(
    model: keras.Model, layers: dict[str, keras.layers.Layer], shape: tuple
) -> dict[str, int]:
    """Return the multiply-accumulates of each layer in a run on one image."""
    macs = dict.fromkeys(layers, 0)
    with contextlib.ExitStack() as stack:
        for path, layer in layers.items():
            rule = _rule(layer)
            if rule is not None or hasattr(layer, "count_products"):
                stack.enter_context(_watch(layer, _counter(macs, path, layer, rule)))
        _run(model, shape)
    return macs


def _counter(
    macs: dict[str, int], path: str, layer: keras.layers.Layer, rule: Any
) -> Callable[..., None]:
    def count(outputs: Any, *args: Any, **kwargs: Any) -> None:
        if rule is not None:
            macs[path] += rule(layer, tuple(args[0].shape), tuple(outputs.shape))
        else:
            args, kwargs = _shapes(args), _shapes(kwargs)
            macs[path] += layer.count_products(*args, **kwargs)

    return count


def _shapes(value: Any) -> Any:
    """Return the shapes of nested tensors; entries of a dict that aren't tensors are left out."""
    if isinstance(value, dict):
        shapes = {key: _shapes(inside) for key, inside in value.items()}
        return {key: shape for key, shape in shapes.items() if shape is not None}
    if isinstance(value, (list, tuple)):
        return [_shapes(inside) for inside in value]
    return tuple(value.shape) if hasattr(value, "shape") else None


@contextlib.contextmanager
def _watch(layer: keras.layers.Layer, count: Callable[..., None]) -> Iterator[None]:
    """Call `count(outputs, *args, **kwargs)` at each call of a layer, inside a `with` statement."""
    name = "call" if layer.quantization_mode is None else "quantized_call"
    original = getattr(layer, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        count(outputs, *args, **kwargs)
        return outputs

    object.__setattr__(layer, name, watched)
    try:
        yield
    finally:
        object.__delattr__(layer, name)


def _run(model: keras.Model, shape: tuple) -> None:
    """Call a model on one black image; on JAX only its shapes, as it would compile each step."""
    dtype = model.inputs[0].dtype if getattr(model, "inputs", None) else keras.config.floatx()
    if keras.backend.backend() == "jax":
        import jax

        jax.eval_shape(
            lambda x: keras.tree.flatten(model(x, training=False)),
            jax.ShapeDtypeStruct(shape, dtype),
        )
        return
    model(keras.ops.zeros(shape, dtype), training=False)


# --- Outputs ----------------------------------------------------------------------------------


def _compare(model: keras.Model, images: Any, reference: Any) -> dict[str, OutputChange]:
    """Return the change of each output that holds floating numbers."""
    found = _named(model.predict(images, verbose=0))
    wanted = reference
    if isinstance(reference, keras.Model):
        wanted = reference.predict(images, verbose=0)
    wanted = _named(wanted)
    softmax = _ends_in_softmax(model)
    changes = {}
    for name, x in found.items():
        if not np.issubdtype(x.dtype, np.floating):
            continue
        if name not in wanted or wanted[name].shape != x.shape:
            raise ValueError(
                f"`reference` must have an output {name!r} of the shape {x.shape}. Received: "
                f"{ {key: value.shape for key, value in wanted.items()} }"
            )
        changes[name] = _change(x, wanted[name], softmax)
    return changes


def _named(outputs: Any) -> dict[str, np.ndarray]:
    """Return outputs by name: a dict's keys, "outputs", or "output 1", ..."""
    if isinstance(outputs, dict):
        named = outputs
    elif isinstance(outputs, (list, tuple)):
        named = {f"output {i + 1}": x for i, x in enumerate(outputs)}
    else:
        named = {"outputs": outputs}
    arrays = {name: keras.ops.convert_to_numpy(x) for name, x in named.items()}
    return {
        name: x.astype("float32") if x.dtype.name == "bfloat16" else x for name, x in arrays.items()
    }


def _ends_in_softmax(model: keras.Model) -> bool:
    """Return whether a model's one output is a softmax."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return False
    last = outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return _ends_in_softmax(last)
    return (
        isinstance(last, keras.layers.Softmax)
        or getattr(last, "activation", None) is keras.activations.softmax
    )


def _change(x: np.ndarray, y: np.ndarray, softmax: bool) -> OutputChange:
    """Return the change of outputs `x` from `y`."""
    agreement = float(np.mean(np.argmax(x, axis=-1) == np.argmax(y, axis=-1)))
    if softmax:
        x, y = centred_logits(x), centred_logits(y)
    x, y = (values.reshape(len(values), -1).astype("float64") for values in (x, y))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    tiny = np.finfo("float64").tiny
    return OutputChange(
        relative_error=float(np.linalg.norm(x - y) / max(np.linalg.norm(y), tiny)),
        cosine=float(np.mean(np.sum(x * y, axis=1) / np.maximum(norms, tiny))),
        top1_agreement=agreement,
    )
