"""Layers and models that have a second form, for inference, under the same name in a file.

The second form of a class is another class, called its twin, which `keras_paca.inference` defines
and registers. Both are saved under the registered name of the first class, and the configuration of
the twin holds `"fused": True`. `resolve` finds the class that a configuration asks for.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras

KEY = "fused"  # in the configuration of a twin
FORMER_KEYS = ("channel_mean",)  # in configurations of earlier versions

_twins: dict[type, type] = {}
_makers: list[Callable[[type], type | None]] = []
_accepting: set[type] = set()


def register_twin(original: type) -> Callable[[type], type]:
    """Return a decorator that registers a class as the twin of another class.

    Args:
        original: type. A registered Keras layer or model.

    Example:
    >>> @keras.saving.register_keras_serializable(package="example")
    ... class Scale(keras.layers.Layer):
    ...     pass
    >>> @register_twin(Scale)
    ... class FusedScale(Scale):
    ...     pass
    >>> twin_of(Scale).__name__, keras.saving.get_registered_name(FusedScale)
    ('FusedScale', 'example>Scale')
    """

    def register(twin: type) -> type:
        package, _, name = keras.saving.get_registered_name(original).rpartition(">")
        if package:
            for cls in (twin, original):  # the name then stands for the last
                keras.saving.register_keras_serializable(package, name)(cls)
        _twins[original] = twin
        return twin

    return register


def register_maker(maker: Callable[[type], type | None]) -> None:
    """Register a function that creates the twins of classes that have none yet.

    Args:
        maker: Callable. It takes a class and returns its twin, or `None`.

    Example:
    >>> class Fast(keras.layers.Layer):
    ...     pass
    >>> class Slow(keras.layers.Layer):
    ...     faster = Fast
    >>> register_maker(lambda cls: getattr(cls, "faster", None))
    >>> twin_of(Slow) is Fast
    True
    """
    _makers.append(maker)


def accept_key(cls: type) -> type:
    """Register a class whose own constructor takes the key, and return the class.

    Args:
        cls: type. A model that hands its configuration on to a class with a twin.

    Example:
    >>> @accept_key
    ... class Wrapper(keras.Model):
    ...     pass
    >>> has_form(Wrapper)
    True
    """
    _accepting.add(cls)
    return cls


def has_form(cls: type) -> bool:
    """Return whether the configuration of a class can ask for the form for inference.

    Args:
        cls: type. The class of a layer or a model.

    Example:
    >>> from keras_paca import layers
    >>> has_form(layers.ConvMLP), has_form(keras.layers.Dense)
    (True, False)
    """
    return is_twin(cls) or cls in _accepting or twin_of(cls) is not None


def twin_of(cls: type) -> type | None:
    """Return the twin of a class, or `None`.

    Args:
        cls: type. The class of a layer or a model.

    Example:
    >>> from keras_paca import layers
    >>> twin_of(layers.ConvMLP).__mro__[2] is layers.ConvMLP
    True
    """
    for maker in _makers:
        if cls not in _twins and not is_twin(cls) and (twin := maker(cls)) is not None:
            register_twin(cls)(twin)
    return _twins.get(cls)


def is_twin(cls: type) -> bool:
    """Return whether a class is a twin.

    Args:
        cls: type. The class of a layer or a model.

    Example:
    >>> from keras_paca import layers
    >>> is_twin(layers.ConvMLP)
    False
    """
    return cls in _twins.values()


def resolve(cls: type, config: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    """Return the class that a configuration asks for, and the arguments of its constructor.

    Args:
        cls: type. The class whose `from_config` is called.
        config: dict. A configuration, perhaps of an earlier version.

    Returns:
        (type, dict). The class or its twin, and the arguments.

    Raises:
        ValueError: If the configuration asks for a twin and there is none.

    Example:
    >>> from keras_paca import layers
    >>> resolve(layers.ConvMLP, {"mlp_ratio": 4.0, "fused": True})[1]
    {'mlp_ratio': 4.0}
    """
    config = {key: value for key, value in config.items() if key not in FORMER_KEYS}
    if not config.pop(KEY, False) or is_twin(cls):
        return cls, config
    twin = twin_of(cls)
    if twin is None:
        raise ValueError(
            f"{cls.__name__} has no form for inference. Received: a configuration with {KEY}=True"
        )
    return twin, config
