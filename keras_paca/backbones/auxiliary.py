"""The attribute `auxiliary` of models with linear angular attention."""

from typing import Any

from keras_paca.layers import LinearAngularAttention


def auxiliary_in(attribute: str) -> property:
    """Return a property `auxiliary` for a class of models.

    It tells whether training adds masked softmax attention, and can only be set to `False`, for all
    attention layers of the model and for its configuration.

    Args:
        attribute: str. The attribute of the model that holds its configuration, a dict.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.CastlingViT(8, num_heads=2, depth=1, classes=3)
    >>> model.auxiliary = False
    >>> model.get_layer("block1").attention.auxiliary, model.get_config()["auxiliary"]
    (False, False)
    """

    def get(model: Any) -> bool:
        """Whether training adds masked softmax attention; it can only be switched off."""
        return any(layer.auxiliary for layer in _attentions(model))

    def set_(model: Any, value: bool) -> None:
        for layer in _attentions(model):
            layer.auxiliary = value
        getattr(model, attribute)["auxiliary"] = value

    return property(get, set_)


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
    layers = _attentions(model)
    if not layers:
        return {}
    options: dict[str, Any] = {"auxiliary": any(layer.auxiliary for layer in layers)}
    values = {layer.threshold for layer in layers}
    return options | ({"threshold": values.pop()} if len(values) == 1 else {})


def _attentions(model: Any) -> list[LinearAngularAttention]:
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, LinearAngularAttention)]
