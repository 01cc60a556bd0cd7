"""What models with linear angular attention have of its auxiliary: an attribute, and two options.

Both are read from the layers, where training and the user change them.
"""

from typing import Any

from keras_paca.layers.angular_attention import LinearAngularAttention


def angular_layers(model: Any) -> list[LinearAngularAttention]:
    """Return the layers of linear angular attention in a model, at any depth.

    Args:
        model: keras.Model. The model.

    Example:
    >>> import keras_paca
    >>> len(angular_layers(keras_paca.CastlingViT(8, num_heads=2, depth=3, classes=3)))
    3
    """
    return [each for each in model._flatten_layers() if isinstance(each, LinearAngularAttention)]


def auxiliary_options(model: Any) -> dict[str, Any]:
    """Return the options of a model's attention layers that may have changed, for its config.

    Args:
        model: keras.Model. The model.

    Returns:
        dict. "auxiliary", whether a layer has it; and "threshold", if all have the same. Empty if
        there are no such layers.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.CastlingViT(8, num_heads=2, depth=1, classes=3)
    >>> model.get_layer("block1").attention.threshold = 0.5
    >>> auxiliary_options(model), model.get_config()["threshold"]
    ({'auxiliary': True, 'threshold': 0.5}, 0.5)
    """
    layers = angular_layers(model)
    if not layers:
        return {}
    options: dict[str, Any] = {"auxiliary": any(layer.auxiliary for layer in layers)}
    values = {layer.threshold for layer in layers}
    return options | ({"threshold": values.pop()} if len(values) == 1 else {})


def _get(model: Any) -> bool:
    """Whether training adds masked softmax attention; it can only be switched off."""
    return any(layer.auxiliary for layer in angular_layers(model))


def _set(model: Any, value: bool) -> None:
    for layer in angular_layers(model):
        layer.auxiliary = value


AUXILIARY = property(_get, _set)  # the attribute `auxiliary` of a class of models
