"""Models rebuilt from a changed configuration, with the same weights."""

import keras

from keras_paca.inference.folding import copy_weights


def rebuild(model: keras.Model, config: dict) -> keras.Model:
    """Build a model from a changed configuration, with the weights of the original model.

    Args:
        model: keras.Model. The original model. Its classes needn't be registered.
        config: dict. The changed result of `keras.saving.serialize_keras_object(model)`.

    Returns:
        keras.Model. A new model, not compiled.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="old")
    >>> config = keras.saving.serialize_keras_object(model)
    >>> config["config"]["name"] = "new"
    >>> rebuild(model, config).name
    'new'
    """
    classes = {type(layer) for layer in model._flatten_layers()}
    unregistered = {
        cls.__name__: cls
        for cls in classes
        if ">" not in keras.saving.get_registered_name(cls) and not _is_of_keras(cls)
    }
    config = {key: value for key, value in config.items() if key != "compile_config"}
    # The code is in memory already, that of a `Lambda` too, so the safe mode protects nothing.
    copy = keras.saving.deserialize_keras_object(config, unregistered, safe_mode=False)
    copy_weights(copy, model)
    return copy


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"
