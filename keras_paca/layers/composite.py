"""Layers made of layers, some of which may be quantized: how their configurations say which."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_paca.layers.nested import NestedLayer


@keras.saving.register_keras_serializable(package="keras_paca")
class InnerDTypePolicyMap(keras.dtype_policies.DTypePolicyMap):
    """The policies of the quantized layers inside a layer or a model.

    Keys are paths from there, such as "attention/query", without the name of the owner and of what
    is around it: those may change between saving and loading.

    Args:
        default_policy: policy of all other layers inside, and of the owner.
        policy_map: {path: policy}.
        quantization_configs: {path: `keras.quantizers.QuantizationConfig`}, for the quantizers
            and block sizes that policies don't tell.
    """

    def __init__(
        self,
        default_policy: Any = None,
        policy_map: dict[str, Any] | None = None,
        quantization_configs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(default_policy, policy_map)
        self.quantization_configs = dict(quantization_configs or {})

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        configs = keras.saving.serialize_keras_object(self.quantization_configs)
        return {**super().get_config(), "quantization_configs": configs}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "InnerDTypePolicyMap":
        """Return the map of a configuration."""
        configs = keras.saving.deserialize_keras_object(
            config["quantization_configs"], custom_objects=custom_objects
        )
        return super().from_config({**config, "quantization_configs": configs}, custom_objects)


def default_policy(policy: Any) -> Any:
    """Return the policy of a layer itself that was given `policy` for all that is inside."""
    return policy.default_policy if isinstance(policy, InnerDTypePolicyMap) else policy


def inner(policy: Any, path: str, dtype: Any = None) -> dict[str, Any]:
    """Return the arguments `name` and `dtype` of a layer made inside another.

    Where it is quantized on its own, they include its `quantization_config`.

    Args:
        policy: the policy that the other was given.
        path: of the new layer inside the other; ends in its name.
        dtype: policy where it isn't quantized, by default the other's own.
    """
    arguments = {"name": path.rsplit("/", 1)[-1], "dtype": dtype or default_policy(policy)}
    if not isinstance(policy, InnerDTypePolicyMap):
        return arguments
    if path in policy:
        config = policy.quantization_configs.get(path)
        return {**arguments, "dtype": policy[path], "quantization_config": config}
    start = f"{path}/"
    policies, configs = (
        {key.removeprefix(start): given[key] for key in given if key.startswith(start)}
        for given in (policy, policy.quantization_configs)
    )
    if policies:
        default = keras.dtype_policies.get(arguments["dtype"]).name
        arguments["dtype"] = InnerDTypePolicyMap(default, policies, configs)
    return arguments


def serialize_policy(policy: Any, layers: Iterable[keras.layers.Layer]) -> dict:
    """Return what a configuration holds as an owner's `dtype`, for `inner` to take apart.

    Args:
        policy: the owner's own.
        layers: the layers inside it.

    Returns:
        An `InnerDTypePolicyMap` where any layer inside is quantized, else `policy`, serialised.
    """
    quantized = {} if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else _find(layers)
    if not quantized:
        return keras.dtype_policies.serialize(policy)
    policies = {path: layer.dtype_policy for path, layer in quantized.items()}
    configs = {path: getattr(x, "quantization_config", None) for path, x in quantized.items()}
    # Not by Keras, which takes two objects in a file for one if they have the same `id`: this one
    # doesn't live on, and the next gets its place in memory.
    return {
        "module": InnerDTypePolicyMap.__module__,
        "class_name": InnerDTypePolicyMap.__name__,
        "config": InnerDTypePolicyMap(policy.name, policies, configs).get_config(),
        "registered_name": keras.saving.get_registered_name(InnerDTypePolicyMap),
    }


def quantized_layers(owner: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the quantized layers inside a layer or a model."""
    return [layer for layer in owner._flatten_layers() if layer.quantization_mode is not None]


def _find(layers: Iterable[keras.layers.Layer]) -> dict[str, keras.layers.Layer]:
    """Return the quantized layers among `layers` and inside them, by path."""
    found = {}
    for layer in layers:
        if layer.quantization_mode is not None:
            found[layer.name] = layer
        inside = _find(layer._flatten_layers(include_self=False, recursive=False))
        found.update({f"{layer.name}/{path}": value for path, value in inside.items()})
    return found


class Composite(NestedLayer):
    """A layer that makes layers inside, each with `**self.inner(name)` and kept by itself.

    Its configuration tells which of them are quantized, so that a quantized model loads again;
    that of an ordinary one is as always.
    """

    def __init__(self, *, dtype: Any = None, **kwargs: Any) -> None:
        given = keras.dtype_policies.get(dtype)
        super().__init__(dtype=default_policy(given), **kwargs)
        self._given_policy = given

    def inner(self, name: str, dtype: Any = None) -> dict[str, Any]:
        """Return the arguments `name` and `dtype` of a layer made inside; see `inner`."""
        return inner(self._given_policy, name, dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        inside = self._flatten_layers(include_self=False, recursive=False)
        return {**super().get_config(), "dtype": serialize_policy(self.dtype_policy, inside)}
