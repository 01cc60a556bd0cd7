"""Attentive Normalization in the place of a model's batch norms."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_paca.arguments import check_positive
from keras_paca.frozen import copy_trainable_state, set_trainable
from keras_paca.inference.folding import copy_weights, to_float64
from keras_paca.inference.rebuild import deserialize
from keras_paca.layers import BatchNormalization
from keras_paca.layers.attentive_norm import (
    AttentiveBatchNormalization,
    AttentiveNormalization,
)


class Rule(NamedTuple):
    """Which norms of a family of networks the paper replaces, and with how many mixtures.

    Attributes:
        find: Callable. It takes the names of all layers and returns {name of a norm: stage}, with
            stages from 0.
        mixtures: tuple of int. K of each stage.

    Example:
    >>> RULES["mobilenet_v2"].find(["block_10_depthwise_BN", "block_10_project_BN"])
    {'block_10_depthwise_BN': 4}
    """

    find: Callable[[Iterable[str]], dict[str, int]]
    mixtures: tuple[int, ...]


def _mobilenet_v2_norms(names: Iterable[str]) -> dict[str, int]:
    """Return the norms after the depthwise convolutions."""
    starts = (0, 1, 3, 6, 10, 13, 16)  # the first block of each stage
    matches = (re.fullmatch(r"(?:expanded_conv|block_(\d+))_depthwise_BN", name) for name in names)
    return {
        match[0]: sum(int(match[1] or 0) >= start for start in starts) - 1
        for match in matches
        if match
    }


def _densenet_norms(names: Iterable[str]) -> dict[str, int]:
    """Return the second norm of each dense layer."""
    # KerasHub counts the norms from 1, `keras.applications` from 0
    return _norms_of_blocks(names, "concat", lambda has: "1_bn" if has("0_bn") else "2_bn")


def _resnet_norms(names: Iterable[str]) -> dict[str, int]:
    """Return the norm after the 3 x 3 of each bottleneck, the first of each basic block."""
    return _norms_of_blocks(names, "out", lambda has: "2_bn" if has("3_conv") else "1_bn")


def _norms_of_blocks(
    names: Iterable[str], end: str, norm_of: Callable[[Callable[[str], bool]], str]
) -> dict[str, int]:
    """Return one norm of each block that has a layer called `end`, and the block's stage.

    The layers are called "conv2_block1_out" in `keras.applications`, "stack0_block0_out" in
    KerasHub.
    """
    names, found = set(names), {}
    for name in names:
        if match := re.fullmatch(rf"((?:conv|stack)(\d+)_block\d+)_{end}", name):
            block, stage = match[1], int(match[2])
            norm = norm_of(lambda part, block=block: f"{block}_{part}" in names)
            found[f"{block}_{norm}"] = stage
    first = min(found.values(), default=0)
    return {name: stage - first for name, stage in found.items()}


RULES = {
    "mobilenet_v2": Rule(_mobilenet_v2_norms, (5, 5, 5, 5, 10, 10, 10)),
    "densenet": Rule(_densenet_norms, (10, 10, 20, 20)),
    "resnet": Rule(_resnet_norms, (10, 10, 20, 20)),
}
MIXTURES = 10  # for norms that no rule chose


def attentive(
    model: keras.Model,
    where: str | Callable[[keras.layers.Layer], bool] | None = None,
    k: int | Sequence[int] | None = None,
    *,
    attention: str = "norm_hard_sigmoid",
    squeeze: str = "standardized",
) -> keras.Model:
    """Return a copy of a model with `AttentiveBatchNormalization` in the place of some batch norms.

    All weights are kept. Each new layer has the name, the momentum, the epsilon, the moving
    statistics, the dtype policy and `trainable` of the norm that it replaces. At the start, its K
    scales and offsets are the old one divided by K / 2, the sum of the K attention weights. That
    sum is K / 2 for every image, although the attention is random: the weights come in pairs whose
    linear layers have opposite signs, such as 0.3 and 0.7. So the new model computes what the old
    one does, in inference and in training, up to rounding: for ResNet50 and MobileNetV2 of
    `keras.applications`, the relative error is below 2e-5 in float32, and below 1e-12 in float64,
    which Keras has on TensorFlow alone. The last weight of an odd K, without a partner, starts with
    a scale and an offset of 0; a softmax sums to 1 by itself; and where K is 1, the attention
    starts as the constant 0.5.

    In further training, moving variances become the unbiased ones, as in
    `keras_paca.layers.BatchNormalization`.

    Args:
        model: keras.Model. A functional model, such as one of `keras.applications`, a ResNet or
            DenseNet of KerasHub, or a model around one of them. Models inside it are searched, too,
            but not layers that make norms in their own code, as KerasHub's MobileNet has them. It
            isn't changed.
        where: str, Callable or None. Which batch norms to replace. "resnet", the one after the 3 x
            3 of each bottleneck, or the first of each block without a bottleneck; "mobilenet_v2",
            the one after each depthwise convolution; "densenet", the second of each dense layer;
            a pattern of layer names, such as "*_2_bn"; or a function that takes a batch norm
            and returns whether to replace it. `None` chooses one of the three names by the names of
            the layers, which are those of `keras.applications` or KerasHub.
        k: int, Sequence of int or None. K of all norms, or of each stage of "resnet" and
            "densenet" (4 stages) or "mobilenet_v2" (7). By default, as in the paper,
            (10, 10, 20, 20) or (5, 5, 5, 5, 10, 10, 10), and 10 for norms that a pattern or a
            function chooses. Call this function again to give others another K.
        attention: str. As for `AttentiveBatchNormalization`.
        squeeze: str. As for `AttentiveBatchNormalization`.

    Returns:
        keras.Model. A plain functional model of the same name and structure, not compiled, which
        is saved and loaded like any other. Of the attributes of a subclass, only `pyramid_outputs`
        is kept: convert a backbone before you build a detector or a segmenter on it.

    Raises:
        ValueError: If the model isn't functional, if `where` chooses no batch norm of its graph, if
            a chosen one isn't over the last axis of a map, or if `k` doesn't fit.

    Example:
    >>> import keras_paca
    >>> model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=4)
    >>> converted = keras_paca.attentive(model)
    >>> converted.get_layer("block_16_depthwise_BN").mixtures
    10
    >>> x = keras.random.normal((2, 32, 32, 3))
    >>> bool(keras.ops.max(keras.ops.abs(converted(x) - model(x))) < 1e-5)
    True
    """
    if not _is_graph(model):
        raise ValueError(
            f"`model` must be a functional model, whose layers are known. Received: model={model!r}"
        )
    chosen = _choose(model, where, k)
    for norm in chosen:
        _check_norm(norm)
    options = {"attention": attention, "squeeze": squeeze}
    return _Converter(chosen, options).convert(model)


# --- Choosing the norms -------------------------------------------------------------------------


def _is_graph(layer: Any) -> bool:
    """Return whether a layer is a functional or a built sequential model."""
    inputs = getattr(layer, "inputs", None) if isinstance(layer, keras.Model) else None
    return bool(inputs) and all(isinstance(x, keras.KerasTensor) for x in inputs)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a graph and of the graphs inside it."""
    for layer in model.layers:
        yield layer
        if _is_graph(layer):
            yield from _layers(layer)


def _choose(model: keras.Model, where: Any, k: Any) -> dict[keras.layers.Layer, int]:
    """Return the batch norms to replace, and how many mixtures each gets."""
    layers = list(_layers(model))
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    if where is None or (isinstance(where, str) and where in RULES):
        names = {x.name for x in layers}
        for rule in RULES.values() if where is None else (RULES[where],):
            stages = rule.find(names)
            if chosen := {x: stages[x.name] for x in norms if x.name in stages}:
                return _mixtures(chosen, rule.mixtures, k)
    elif isinstance(where, str) or callable(where):
        is_chosen = where if callable(where) else lambda x: fnmatchcase(x.name, where)
        if chosen := {x: 0 for x in norms if is_chosen(x)}:
            return _mixtures(chosen, (MIXTURES,), k)
    else:
        raise ValueError(
            f"`where` must be {', '.join(map(repr, RULES))}, a pattern of names, a function or "
            f"None. Received: where={where!r}"
        )
    done = any(isinstance(x, AttentiveNormalization) for x in layers)
    shown = [x.name for x in norms[:3]]
    raise ValueError(
        "`where` must choose a batch normalization of the model's graph"
        f"{', which has attentive ones already' if done else ''}. Received: where={where!r} for "
        f"{model.name!r}, whose graph has {len(norms)} others"
        f"{f', such as {shown}' if shown else ''}"
    )


def _mixtures(
    stages: dict[keras.layers.Layer, int], by_default: tuple[int, ...], k: Any
) -> dict[keras.layers.Layer, int]:
    """Return K of each norm from its stage."""
    count = len(by_default)
    if k is None:
        k = by_default
    elif isinstance(k, (list, tuple)):
        if len(k) != count or count == 1:
            wanted = "an integer" if count == 1 else f"an integer or one for each of {count} stages"
            raise ValueError(f"`k` must be {wanted}. Received: k={k!r}")
        k = tuple(check_positive("k", each) for each in k)
    else:
        k = (check_positive("k", k),) * count
    return {norm: k[min(stage, count - 1)] for norm, stage in stages.items()}


def _check_norm(norm: keras.layers.BatchNormalization) -> None:
    """Refuse a batch norm that an attentive one can't replace."""
    if type(norm) not in (keras.layers.BatchNormalization, BatchNormalization):
        raise ValueError(
            "A subclass of `keras.layers.BatchNormalization` may compute something else and can't "
            f"be replaced. Received: {norm.name!r} of {type(norm)}"
        )
    rank = norm.input_spec.ndim
    if rank != 4 or norm.axis not in (3, -1):
        raise ValueError(
            "`where` must choose batch norms over the last axis of maps (batch, height, width, "
            f"channels). Received: {norm.name!r} over the axis {norm.axis} of {rank}"
        )
    for name in ("gamma", "beta"):
        for kind in ("regularizer", "constraint"):
            if getattr(norm, f"{name}_{kind}") is not None:
                raise ValueError(
                    f"An attentive norm has no {name}_{kind}. Received: {norm.name!r} with one"
                )
    if getattr(norm, "renorm", False):  # which Keras has from 3.14
        raise ValueError(f"An attentive norm has no `renorm`. Received: {norm.name!r} with it")


# --- Copying the model --------------------------------------------------------------------------


class _Converter:
    """Copies graphs with other norms.

    Args:
        chosen: dict. {batch norm: K}.
        options: dict. Further arguments of `AttentiveBatchNormalization`.
    """

    def __init__(self, chosen: dict[keras.layers.Layer, int], options: dict[str, Any]) -> None:
        self.chosen = chosen
        self.options = options
        self.copies: dict[int, Any] = {}  # a layer that is used twice is copied once
        self.pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self.graphs: list[tuple[keras.Model, keras.Model]] = []  # inner ones first
        self.norms: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    def convert(self, model: keras.Model) -> keras.Model:
        """Return the copy of a graph."""
        converted = self._convert(model)
        for target, source in self.pairs:  # all are built only now
            copy_weights(target, source)
        for target, source in reversed(self.graphs):
            set_trainable(target, source.trainable)
        for target, source in self.pairs + self.norms:
            copy_trainable_state(target, source)
        return converted

    def _convert(self, model: keras.Model) -> keras.Model:
        converted = self._copy_graph(model)
        self.graphs.append((converted, model))
        return converted

    def _copy_graph(self, model: keras.Model) -> keras.Model:
        if isinstance(model, keras.Sequential):
            (x,) = model.inputs
            inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name)
            return keras.Sequential([inputs, *map(self._copy, model.layers)], name=model.name)
        # A plain model, because the class of `model` may be unable to build a changed graph.
        levels = getattr(model, "pyramid_outputs", None)
        if not levels:
            plain = keras.Model(model.input, model.output, name=model.name)
            return self._clone(plain)
        plain = keras.Model(model.input, [model.output, dict(levels)])
        clone = self._clone(plain)
        output, levels = clone.output
        converted = keras.Model(clone.input, output, name=model.name)
        converted.pyramid_outputs = levels
        return converted

    def _clone(self, model: keras.Model) -> keras.Model:
        return keras.models.clone_model(model, clone_function=self._copy, call_function=_call)

    def _copy(self, operation: Any) -> Any:
        """Return the copy of a layer or an operation, the same one each time."""
        if id(operation) not in self.copies:
            self.copies[id(operation)] = self._make(operation)
        return self.copies[id(operation)]

    def _make(self, operation: Any) -> Any:
        if operation in self.chosen:
            return self._replace(operation)
        if not isinstance(operation, keras.layers.Layer):
            return type(operation).from_config(operation.get_config())
        if _is_graph(operation) and not self.chosen.keys().isdisjoint(_layers(operation)):
            return self._convert(operation)
        copy = deserialize(operation, keras.saving.serialize_keras_object(operation))
        self.pairs.append((copy, operation))
        return copy

    def _replace(self, norm: keras.layers.BatchNormalization) -> AttentiveBatchNormalization:
        """Return an attentive norm that computes the same as a batch norm."""
        mixtures = self.chosen[norm]
        layer = AttentiveBatchNormalization(
            mixtures,
            **self.options,
            momentum=norm.momentum,
            epsilon=norm.epsilon,
            synchronized=norm.synchronized,
            name=norm.name,
            dtype=norm.dtype_policy,
        )
        channels = norm.moving_mean.shape[0]
        layer.build((None, None, None, channels))
        for name in ("moving_mean", "moving_variance"):
            # through NumPy, because on JAX two variables of one array would be deleted together
            getattr(layer.norm, name).assign(to_float64(getattr(norm, name)))
        is_softmax = layer.attention == "norm_softmax"
        shares = np.ones(mixtures) if is_softmax else _pair(layer.attention_dense.kernel)
        for table, old in (
            (layer.scales, to_float64(norm.gamma, 1.0)),
            (layer.offsets, to_float64(norm.beta)),
        ):
            table.assign(shares[:, None] * np.broadcast_to(old, channels))
        self.norms.append((layer, norm))
        return layer


def _call(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a copy as the graph calls the original, which may be a batch norm with a mask."""
    if isinstance(operation, AttentiveBatchNormalization) and kwargs.pop("mask", None) is not None:
        raise ValueError(f"An attentive norm takes no mask. Received: {operation.name!r} with one")
    return operation(*args, **kwargs)


def _pair(kernel: keras.Variable) -> np.ndarray:
    """Make every second column of a kernel the opposite of the one before it.

    Args:
        kernel: keras.Variable. The kernel (units, K) of the last linear layer of an attention that
            ends in f with f(-x) = 1 - f(x).

    Returns:
        np.ndarray (K,). What each transformation gets of the old one: with these factors, the
        mixture is the old one.
    """
    values = to_float64(kernel)
    mixtures = values.shape[1]
    paired = mixtures - mixtures % 2
    if paired == 0:
        kernel.assign(np.zeros_like(values))
        return np.array([2.0])
    values[:, 1:paired:2] = -values[:, 0:paired:2]
    kernel.assign(values)
    return np.where(np.arange(mixtures) < paired, 2 / paired, 0.0)
