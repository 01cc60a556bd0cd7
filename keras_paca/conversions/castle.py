"""Models with linear angular attention in place of Keras's multi-head attention."""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_paca.cloning import refuse_cloning
from keras_paca.frozen import copy_trainable_state
from keras_paca.inference.folding import copy_weights
from keras_paca.inference.rebuild import deserialize
from keras_paca.layers import AngularSelfAttention
from keras_paca.layers.auxiliary import AUXILIARY, angular_layers, auxiliary_options
from keras_paca.layers.policies import quantized_layers
from keras_paca.warn import warn_user

SOFTMAX = keras.layers.MultiHeadAttention
SIGNATURE = inspect.signature(SOFTMAX.__init__)
# The values with which an argument makes no difference to ours.
ONLY = {
    "output_shape": (None,),
    "attention_axes": (None, (1,), [1], (1, 2), [1, 2]),  # all, as `_check` makes sure
    "sliding_window": (None,),
    "use_gate": (None, False),
    **{
        f"{weight}_{kind}": (None,)
        for weight in ("kernel", "bias")
        for kind in ("regularizer", "constraint")
    },
    "activity_regularizer": (None,),
}
_lock = threading.RLock()


def castle(
    model: keras.Model,
    auxiliary: bool = True,
    threshold: float = 0.02,
    kernel_size: int = 9,
    convolution: str = "tokens",
    prefix_tokens: int = 0,
    zero_filters: bool = False,
) -> keras.Model:
    """Return a copy of a model with linear angular attention in place of its softmax attention.

    Each `keras.layers.MultiHeadAttention`, at any depth, becomes an `AngularSelfAttention`. The
    projections keep their weights, whose layout changes from (channels, heads, d) to (channels,
    channels); all other layers keep theirs. The depthwise filters of the attention are fresh, and
    where the output projection has no bias, it gets one of zeros.

    The outputs aren't those of the model: softmax attention returns a mean of values, this one a
    vector of length 1 for each head. The copy is a start for training, with `CastlingSchedule`.

    Args:
        model: keras.Model. Any built model that can be copied from its configuration, such as a
            functional one or a backbone or a classifier of KerasHub (ViT, DeiT). It isn't changed.
        auxiliary: bool. Whether training adds masked softmax attention; see
            `keras_paca.layers.LinearAngularAttention`, also for the other arguments.
        threshold: float. The masked softmax keeps weights above this value.
        kernel_size: int. Length of the filters, odd.
        convolution: str. "tokens", or "grid", for which the patches must make a square.
        prefix_tokens: int. Number of tokens before those of the patches, such as the class token.
        zero_filters: bool. Whether the filters begin at zero instead of PyTorch's random values, so
            that all that attention adds at first comes from the weights of the model. The outputs
            begin closer to the model's then, without being close.

    Returns:
        keras.Model. A new model, not compiled. Its class is a subclass of the model's class. It is
        saved by `save` and loaded by `keras.saving.load_model` where `keras_paca` is imported, but
        not as a KerasHub preset. To build another model on it that can be saved too, call it as a
        layer: `keras.Model(x, head(castled(x)))`.

    Raises:
        ValueError: If the model isn't built or has no `keras.layers.MultiHeadAttention`; or if one
            of these can't be converted: a subclass, a quantized one, one with regularizers,
            constraints or options that linear angular attention doesn't have, one with other
            channels, or one that is called on different query and value tensors, with a mask, or
            with `return_attention_scores=True`.

    Example:
    >>> inputs = keras.Input((9, 8))
    >>> attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
    >>> model = keras.Model(inputs, inputs + attention(inputs, inputs))
    >>> castled = castle(model)
    >>> type(castled.get_layer("attention")).__name__, castled.output_shape
    ('AngularSelfAttention', (None, 9, 8))
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be built: call it on data once. Received: model={model!r}")
    options = {
        "auxiliary": auxiliary,
        "threshold": threshold,
        "kernel_size": kernel_size,
        "convolution": convolution,
        "prefix_tokens": prefix_tokens,
    }
    AngularSelfAttention(1, **options)  # raises if an option is wrong
    found = [layer for layer in model._flatten_layers() if isinstance(layer, SOFTMAX)]
    if not found:
        raise ValueError(
            f"`model` must have a `keras.layers.MultiHeadAttention`. Received: model={model!r}"
        )
    for layer in found:
        _check(layer)
    if any(layer.dropout for layer in found):
        warn_user("There are no attention weights any more, and no dropout of them.")
    config = keras.saving.serialize_keras_object(model)
    castled = _build(lambda: deserialize(model, config), options)
    copy_weights(castled, model, {SOFTMAX: _copy_attention})
    copy_trainable_state(castled, model)
    if zero_filters:
        for layer in angular_layers(castled):
            layer.local.kernel.assign(np.zeros(layer.local.kernel.shape))
    return castled


def _check(layer: keras.layers.MultiHeadAttention) -> None:
    """Raise an error if a layer can't be converted."""
    received = f"Received: the layer {layer.path!r}"
    if type(layer) is not SOFTMAX:
        raise ValueError(
            "A subclass of `keras.layers.MultiHeadAttention` may compute something else and can't "
            f"be converted. {received} of {type(layer)}"
        )
    if quantized_layers(layer):
        raise ValueError(f"Convert first and quantize then. {received} with quantized projections")
    config = layer.get_config()
    _options_of(config, layer.path)
    axes = config["attention_axes"]  # which Keras sets when it builds the layer
    rank = len(layer.query_dense.equation.partition(",")[0])
    if axes is not None and list(axes) != list(range(1, rank - 1)):
        raise ValueError(
            "Linear angular attention goes over all axes between the batch and the channels. "
            f"{received}, attention_axes={axes} and inputs of {rank} axes"
        )
    channels = layer.query_dense.kernel.shape[0]
    if layer.num_heads * layer.key_dim != channels:
        raise ValueError(
            "The heads must have as many channels together as the input. "
            f"{received}, num_heads={layer.num_heads}, key_dim={layer.key_dim}, {channels} channels"
        )


def _options_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the arguments of our layer from those of Keras's, or raise an error."""
    received = f"Received: the layer {name!r} with"
    for argument, allowed in ONLY.items():
        if config.get(argument) not in allowed:
            raise ValueError(
                f"Linear angular attention has no `{argument}`. "
                f"{received} {argument}={config[argument]!r}"
            )
    if config.get("value_dim") not in (None, config["key_dim"]):
        raise ValueError(
            "The values must have as many channels as the queries and the keys. "
            f"{received} key_dim={config['key_dim']}, value_dim={config['value_dim']}"
        )
    return {
        "num_heads": config["num_heads"],
        "key_dim": config["key_dim"],
        "qkv_bias": config.get("use_bias", True),
        **{key: config[key] for key in ("name", "dtype", "trainable") if key in config},
    }


# --- The copy -----------------------------------------------------------------------------------


def _build(make: Callable[[], keras.Model], options: Mapping[str, Any]) -> keras.Model:
    """Make a model from its configuration with our layers in place of Keras's."""
    with _castling(options):
        model = make()
    left = [layer for layer in model._flatten_layers() if isinstance(layer, SOFTMAX)]
    if left or not angular_layers(model):
        raise ValueError(
            "The attention must be made when the model is made of its configuration. "
            f"Received: model={model!r}, whose attention isn't"
        )
    object.__setattr__(model, "__class__", _castled_class(type(model)))
    model._castling_options = dict(options)
    return model


@contextlib.contextmanager
def _castling(options: Mapping[str, Any]) -> Iterator[None]:
    """Make `keras.layers.MultiHeadAttention(...)` return our layer, in this thread.

    Most models create their attention inside the blocks' own code, where no configuration names it.
    """
    thread = threading.get_ident()

    def create(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is not SOFTMAX or threading.get_ident() != thread:
            return super(SOFTMAX, cls).__new__(cls, *args, **kwargs)
        given = SIGNATURE.bind(None, *args, **kwargs).arguments
        given = {**given, **given.pop("kwargs", {})}
        return AngularSelfAttention.from_config(
            {**_options_of(given, given.get("name") or "multi_head_attention"), **options}
        )

    with _lock:
        before = vars(SOFTMAX).get("__new__")  # of a model around this one
        SOFTMAX.__new__ = staticmethod(create)
        try:
            yield
        finally:
            if before is None:
                del SOFTMAX.__new__
            else:
                SOFTMAX.__new__ = before


def _copy_attention(target: AngularSelfAttention, source: keras.layers.MultiHeadAttention) -> None:
    for name in ("query_dense", "key_dense", "value_dense", "output_dense"):
        dense, theirs = getattr(target, name), getattr(source, name)
        kernel = keras.ops.convert_to_numpy(theirs.kernel)  # (c, heads, d), or (heads, d, c)
        dense.kernel.assign(kernel.reshape(dense.kernel.shape))
        if dense.bias is not None:
            bias = 0.0 if theirs.bias is None else keras.ops.convert_to_numpy(theirs.bias)
            dense.bias.assign(np.broadcast_to(np.ravel(bias), dense.bias.shape))


# --- Files --------------------------------------------------------------------------------------


class CastledModel:
    """First base class of castled models; the second one is the class of the original model.

    A file holds the configuration of the original model and the options of `castle`, so that it is
    loaded by building the original again.

    Attributes:
        auxiliary: bool. Whether the attention has the auxiliary in training.

    Example:
    >>> inputs = keras.Input((9, 8))
    >>> outputs = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
    >>> castled = castle(keras.Model(inputs, outputs))
    >>> isinstance(castled, CastledModel), isinstance(castled, keras.Model), castled.auxiliary
    (True, True, True)
    """

    auxiliary = AUXILIARY

    def get_config(self) -> dict:
        """Return the original model's configuration and the options."""
        cls = type(self)
        object.__setattr__(self, "__class__", cls.__mro__[2])
        try:
            config = keras.saving.serialize_keras_object(self)
        finally:
            object.__setattr__(self, "__class__", cls)
        name = AngularSelfAttention.__name__
        attention = {  # as a layer, which `fuse` finds
            "module": AngularSelfAttention.__module__,
            "class_name": name,
            "config": {**self._castling_options, **auxiliary_options(self)},
            "registered_name": f"keras_paca>{name}",
        }
        return {"model": config, "attention": attention}

    def _run_through_graph(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_cloning(inputs, kwargs, "a model with softmax attention of this one")
        return super()._run_through_graph(inputs, *args, **kwargs)

    def save_to_preset(self, *args: Any, **kwargs: Any) -> None:
        """Raise an error, because KerasHub couldn't load the preset."""
        raise ValueError(
            "KerasHub's presets hold its own classes alone. Save this model by `model.save(path)`, "
            "which `keras.saving.load_model` loads."
        )

    def __reduce__(self) -> tuple:
        """Pickle by `keras.Model`, as the class of this model is made when it is converted."""
        return keras.Model._unpickle_model, super().__reduce__()[1]

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> keras.Model:
        """Build the original model with our attention in place of its own."""
        original = {key: value for key, value in config["model"].items() if key != "compile_config"}
        with keras.saving.custom_object_scope(custom_objects or {}):
            return _build(
                lambda: keras.saving.deserialize_keras_object(original),
                config["attention"]["config"],
            )


@functools.cache
def _castled_class(cls: type) -> type:
    """Return the subclass of a model's class for castled models, saved as `CastledModel`."""
    if issubclass(cls, CastledModel):
        return cls
    castled = type(cls.__name__, (CastledModel, cls), {"__module__": cls.__module__})
    for each in (castled, CastledModel):  # the name then stands for the last
        keras.saving.register_keras_serializable("keras_paca", "CastledModel")(each)
    return castled


keras.saving.register_keras_serializable("keras_paca")(CastledModel)
