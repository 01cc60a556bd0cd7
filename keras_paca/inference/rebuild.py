"""Models rebuilt from a changed configuration, with the same weights."""

import keras

from keras_paca.inference.folding import copy_weights


def rebuild(model: keras.Model, config: dict) -> keras.Model:
    """Return a model of a changed configuration with the weights of the model it is from.

    Args:
        model: keras.Model. The model whose weights are copied. Classes that aren't registered
            are looked for in it.
        config: dict. What `serialize_keras_object` returned for it, changed.

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
    # What is in memory already runs as safely as it did, a `Lambda` too.
    copy = keras.saving.deserialize_keras_object(config, unregistered, safe_mode=False)
    copy_weights(copy, model)
    return copy


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"
