"""The dtype policies of sub-layers, some of which may be quantized."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_paca")
class InnerDTypePolicyMap(keras.dtype_policies.DTypePolicyMap):
    """The policies of the quantized sub-layers of a layer or a model.

    Keys are the paths of sub-layers, such as "attention/query". They don't begin with the name of
    the layer or model itself, which may change between saving and loading.

    Args:
        default_policy: DTypePolicy. The policy of the layer or model itself and of all other
            sub-layers.
        policy_map: dict. {path: policy}.
        quantization_configs: dict. {path: `keras.quantizers.QuantizationConfig`}, with the
            quantizers and block sizes, which policies don't record.

    Example:
    >>> quantized = keras.dtype_policies.get("int8_from_float32")
    >>> policies = InnerDTypePolicyMap("float32", {"query": quantized})
    >>> policies["query"].name, policies.default_policy.name
    ('int8_from_float32', 'float32')
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
        """Create the policies from their configuration."""
        configs = keras.saving.deserialize_keras_object(
            config["quantization_configs"], custom_objects=custom_objects
        )
        return super().from_config({**config, "quantization_configs": configs}, custom_objects)


def default_policy(policy: Any) -> Any:
    """Return the policy of a layer itself, without those of its sub-layers.

    Args:
        policy: DTypePolicy. The policy that the layer was given.

    Example:
    >>> default_policy(InnerDTypePolicyMap("bfloat16")).name
    'bfloat16'
    """
    return policy.default_policy if isinstance(policy, InnerDTypePolicyMap) else policy


def logits_policy(policy: Any) -> Any:
    """Return the policy of a layer whose outputs go into a softmax: float32 instead of float16.

    Args:
        policy: DTypePolicy. The policy of the layer around it.

    Example:
    >>> logits_policy(keras.dtype_policies.get("mixed_float16"))
    'float32'
    """
    return "float32" if policy.compute_dtype == "float16" else policy


def exact_dtype(policy: Any) -> str:
    """Return the dtype of sums and norms under a policy: float32, or the policy's if that is wider.

    Args:
        policy: DTypePolicy. The policy of the layer or model around them.

    Example:
    >>> exact_dtype(keras.dtype_policies.get("bfloat16"))
    'float32'
    """
    return keras.backend.result_type(policy.compute_dtype, "float32")


def policy_inside(policy: Any, path: str, dtype: Any = None) -> dict[str, Any]:
    """Return the arguments `name` and `dtype` of a sub-layer.

    If the sub-layer is quantized, they include its `quantization_config`.

    Args:
        policy: DTypePolicy. The policy that the layer or model was given.
        path: str. Path of the sub-layer. It ends in the name of the sub-layer.
        dtype: str or DTypePolicy. Dtype or policy of the sub-layer unless it is quantized. By
            default, that of the layer or model.

    Returns:
        dict.

    Example:
    >>> policy_inside(keras.dtype_policies.get("float32"), "attention/query")["name"]
    'query'
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
    """Return the `dtype` in the configuration of a layer or model with sub-layers.

    Args:
        policy: DTypePolicy. Its own policy.
        layers: Iterable of keras.layers.Layer. The sub-layers.

    Returns:
        dict. A serialized `InnerDTypePolicyMap` if a sub-layer is quantized; otherwise the
        serialized policy.

    Example:
    >>> serialize_policy(keras.dtype_policies.get("float32"), [])["config"]
    {'name': 'float32'}
    """
    quantized = {} if isinstance(policy, keras.dtype_policies.DTypePolicyMap) else _find(layers)
    if not quantized:
        return keras.dtype_policies.serialize(policy)
    policies = {path: layer.dtype_policy for path, layer in quantized.items()}
    configs = {path: getattr(x, "quantization_config", None) for path, x in quantized.items()}
    # Keras would serialize two objects of the same `id` as one. This object is deleted at the end
    # of this function, and the next one may get its place in memory.
    return {
        "module": InnerDTypePolicyMap.__module__,
        "class_name": InnerDTypePolicyMap.__name__,
        "config": InnerDTypePolicyMap(policy.name, policies, configs).get_config(),
        "registered_name": keras.saving.get_registered_name(InnerDTypePolicyMap),
    }


def quantized_layers(owner: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the quantized layers of a layer or a model, itself included.

    Args:
        owner: keras.layers.Layer. The layer or model.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")])
    >>> model.get_layer("dense").quantize("int8")
    >>> [layer.name for layer in quantized_layers(model)]
    ['dense']
    """
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
