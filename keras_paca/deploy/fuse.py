"""The form of a model for inference: the same outputs from fewer passes over the maps."""

from typing import Any

import keras

from keras_paca.deploy.describe import PACKAGE
from keras_paca.deploy.rebuild import rebuild
from keras_paca.layers.composite import quantized_layers


def fuse(model: keras.Model) -> keras.Model:
    """Return a model that computes what `model` computes, in fewer operations, for inference.

    Scales, centres and shortcuts that stand beside a projection or convolution become part of its
    weights: those of norms before linear projections, layer scales, batch norms after convolutions
    and the shortcut of the feed-forward networks' convolutions. In float32 the normalisation of the
    image and the two convolutions of the stem are one, where the sides are known multiples of 4.
    Outputs in inference are the same but for rounding. The new model can be saved, exported and
    quantized as the other; it could train on, but its batch norms are part of other weights then.

    Args:
        model: any built Keras model with layers of this library at any depth, such as a `PaCaViT`,
            a `Segmenter`, a `MaskRCNN` or a model around one of them. Remains as it is.

    Returns:
        A new model of the same class, name, dtype and frozen layers, not compiled. A model that is
        fused already comes back as a copy.

    Raises:
        ValueError: if the model isn't built, has quantized layers, or has no layer of this library
            that its configuration names.
    """
    if not model.built:
        raise ValueError(f"`model` must be built: call it on data once. Received: model={model!r}")
    for layer in quantized_layers(model):
        raise ValueError(
            "Fuse first and quantize then: a quantized layer's weights can't hold a scale. "
            f"Received: model={model!r} with {layer.path!r} in {layer.dtype_policy!r}"
        )
    config = keras.saving.serialize_keras_object(model)
    if not _set_fused(config):
        raise ValueError(
            "`model` must have layers of keras_paca, and its configuration must name them. "
            f"Received: model={model!r}"
        )
    return rebuild(model, config)


def _set_fused(config: Any) -> int:
    """Set `fused` of all our objects in a serialized one; return how many there are."""
    if isinstance(config, (list, tuple)):
        return sum(_set_fused(item) for item in config)
    if not isinstance(config, dict):
        return 0
    count = sum(_set_fused(value) for value in config.values())
    ours = str(config.get("registered_name")).startswith(PACKAGE)
    if not ours or "fused" not in config["config"]:
        return count
    config["config"]["fused"] = True
    return count + 1
