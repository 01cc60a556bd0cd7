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
    copy = deserialize(model, config)
    copy_weights(copy, model)
    return copy


def deserialize(original: keras.layers.Layer, config: dict) -> keras.layers.Layer:
    """Create a layer or a model from the configuration of another one, perhaps a changed one.

    Args:
        original: keras.layers.Layer. The other one. The classes of its layers needn't be
            registered.
        config: dict. The result of `keras.saving.serialize_keras_object(original)`, perhaps
            changed.

    Returns:
        keras.layers.Layer. The layer or model, with fresh weights and not compiled.

    Example:
    >>> layer = keras.layers.Dense(2, name="dense")
    >>> deserialize(layer, keras.saving.serialize_keras_object(layer)).name
    'dense'
    """
    classes = {type(layer) for layer in original._flatten_layers()}
    unregistered = {
        cls.__name__: cls
        for cls in classes
        if ">" not in keras.saving.get_registered_name(cls) and not _is_of_keras(cls)
    }
    config = {key: value for key, value in config.items() if key != "compile_config"}
    # The code is in memory already, that of a `Lambda` too, so the safe mode protects nothing.
    return keras.saving.deserialize_keras_object(config, unregistered, safe_mode=False)


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"
