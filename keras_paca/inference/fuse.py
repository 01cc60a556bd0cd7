"""The form of a model for inference: the same outputs from fewer passes over the maps."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_paca.forms import KEY, has_form
from keras_paca.inference.rebuild import rebuild
from keras_paca.layers.policies import quantized_layers


def fuse(model: keras.Model) -> keras.Model:
    """Return a model that computes what `model` computes, in fewer operations, for inference.

    Scales, offsets and shortcuts around a projection or a convolution become part of its weights:
    those of norms before linear projections, layer scales, batch norms after convolutions and the
    shortcuts of depthwise convolutions. In float32, so does the normalisation of the image, and the
    two convolutions of a PaCa-ViT's stem become one if the sides are known multiples of 4. The
    outputs in inference are the same up to rounding. The new model can be saved, exported and
    quantized like the original. It can also be trained further, but without those batch norms.

    Args:
        model: keras.Model. Any built Keras model with layers of this library at any depth, such as
            a `PaCaViT`, a `Segmenter`, a `MaskRCNN` or a model around one of them. It isn't
            changed.

    Returns:
        keras.Model. A new model of the same name, dtype and frozen layers, which isn't compiled.
        Its class is a subclass of the model's class. If `model` is fused already, this is a copy.

    Raises:
        ValueError: If the model isn't built, has quantized layers, or has no layer of this library
            that its configuration names.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> fused = keras_paca.fuse(model)
    >>> fused.count_params() < model.count_params()
    True
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"`model` must be built: call it on data once. Received: model={model!r}")
    for layer in quantized_layers(model):
        raise ValueError(
            "Fuse first and quantize then: a quantized layer's weights can't hold a scale. "
            f"Received: model={model!r} with {layer.path!r} in {layer.dtype_policy!r}"
        )
    config = keras.saving.serialize_keras_object(model)
    classes = {keras.saving.get_registered_name(type(x)): type(x) for x in model._flatten_layers()}
    if not _ask_for_twins(config, classes):
        raise ValueError(
            "`model` must have layers of keras_paca, and its configuration must name them. "
            f"Received: model={model!r}"
        )
    return rebuild(model, config)


def can_fuse(model: keras.Model) -> bool:
    """Return whether `fuse` accepts a model: it has layers of this library, none of them quantized.

    Args:
        model: keras.Model. The model.

    Example:
    >>> can_fuse(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    False
    """
    classes = {type(layer) for layer in model._flatten_layers()}
    return any(map(has_form, classes)) and not quantized_layers(model)


def _ask_for_twins(config: Any, classes: Mapping[str, type]) -> int:
    """Set `KEY` in the configuration of each object with a twin, and return their number."""
    if isinstance(config, (list, tuple)):
        return sum(_ask_for_twins(item, classes) for item in config)
    if not isinstance(config, dict):
        return 0
    count = sum(_ask_for_twins(value, classes) for value in config.values())
    name = config.get("registered_name") or config.get("class_name")
    cls = keras.saving.get_registered_object(name) or classes.get(name)
    if cls is None or not isinstance(config.get("config"), dict) or not has_form(cls):
        return count
    config["config"][KEY] = True
    return count + 1
