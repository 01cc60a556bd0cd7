"""The base class of the library's layers: how they create sub-layers and how they are saved."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_paca import ops
from keras_paca.arguments import check_boolean
from keras_paca.forms import resolve
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.layers.policies import default_policy, policy_inside, serialize_policy
from keras_paca.naming import default_name


@functools.cache
def argument_names(cls: type, base: type) -> tuple[str, ...]:
    """Return the names of the arguments that a class adds to those of one of its base classes.

    Args:
        cls: type. The class.
        base: type. One of its base classes.

    Example:
    >>> from keras_paca.layers import LinearClustering
    >>> argument_names(LinearClustering, BaseLayer)
    ('clusters',)
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names: dict[str, None] = {}
    for part in cls.__mro__[: cls.__mro__.index(base)]:
        if "__init__" in vars(part):
            given = inspect.signature(part.__init__).parameters.values()
            names.update({each.name: None for each in given if each.kind in kinds})
    return tuple(name for name in names if name != "self")


class LayerMaker:
    """Creates the sub-layers of a layer or a model, each with its name and its dtype policy.

    Args:
        policy: DTypePolicy. The policy that the layer or model was given.

    Example:
    >>> make = LayerMaker(keras.dtype_policies.get("mixed_float16"))
    >>> dense = make(keras.layers.Dense, "query", 8)
    >>> dense.name, dense.dtype_policy.name
    ('query', 'mixed_float16')
    """

    def __init__(self, policy: Any) -> None:
        self.given_policy = policy
        self.policy = default_policy(policy)

    def __call__(
        self,
        cls: Callable[..., keras.layers.Layer],
        path: str,
        *args: Any,
        dtype: Any = None,
        **kwargs: Any,
    ) -> keras.layers.Layer:
        """Create a sub-layer.

        Args:
            cls: type or Callable. The class of the sub-layer, or a function that creates it.
            path: str. Path of the sub-layer, such as "query" or "stage1_block1/clustering". It ends
                in the name of the sub-layer.
            *args: Arguments of the sub-layer.
            dtype: str or DTypePolicy. Dtype or policy of the sub-layer unless it is quantized. By
                default, the policy of the layer or model that holds it.
            **kwargs: Arguments of the sub-layer.

        Returns:
            keras.layers.Layer. The sub-layer.
        """
        return cls(*args, **kwargs, **policy_inside(self.given_policy, path, dtype))


class BaseLayer(keras.layers.Layer):
    """Base class of the library's layers, which create their sub-layers with `make`.

    The configuration also records which sub-layers are frozen or quantized, so that a layer can be
    loaded as it was saved.

    Args:
        frozen: Sequence of str. Paths of the sub-layers that don't train.
        thawed: Sequence of str. Paths of the layers inside frozen sub-layers that train.
        name: str. Name of the layer. By default, that of its class, such as "paca_block".
        dtype: str or DTypePolicy. Dtype or policy of the layer and its sub-layers.
        **kwargs: As for `keras.layers.Layer`.

    Example:
    >>> class Projection(BaseLayer):
    ...     def build(self, input_shape):
    ...         self.dense = self.make(keras.layers.Dense, "dense", 4)
    ...         self.dense.build(input_shape)
    ...
    ...     def call(self, inputs):
    ...         return self.dense(inputs)
    >>> layer = Projection()
    >>> layer.name, layer(keras.ops.ones((1, 2))).shape[-1]
    ('projection', 4)
    """

    maker = LayerMaker

    def __init__(
        self,
        *,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        given = keras.dtype_policies.get(dtype)
        super().__init__(
            name=name or default_name(type(self)), dtype=default_policy(given), **kwargs
        )
        self.make = self.maker(given)
        self._given_state = {"frozen": list(frozen), "thawed": list(thawed)}

    def _post_build(self) -> None:
        super()._post_build()
        if not self.trainable:
            set_trainable(self, False)  # the variables exist only now
        restore_trainable_state(self, **self._given_state, must_exist=False)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, which are attributes of the same names."""
        state = trainable_state(self) if self.built else self._given_state
        inside = self._flatten_layers(include_self=False, recursive=False)
        # a class of the user's may keep an argument elsewhere and add it by itself
        names = [name for name in argument_names(type(self), BaseLayer) if hasattr(self, name)]
        arguments = {name: getattr(self, name) for name in names}
        return {
            **super().get_config(),
            "dtype": serialize_policy(self.dtype_policy, inside),
            **{
                name: keras.saving.serialize_keras_object(value)
                if isinstance(value, keras.layers.Layer)
                else value
                for name, value in arguments.items()
            },
            **{name: paths for name, paths in state.items() if paths},
        }

    @classmethod
    def from_config(cls, config: dict) -> "BaseLayer":
        """Create a layer from a configuration, in the form that the configuration asks for."""
        wanted, config = resolve(cls, config)
        return super().from_config(config) if wanted is cls else wanted.from_config(config)


class RecomputedLayer(BaseLayer):
    """Base class of layers on one map whose argument `remat` saves memory in training.

    A subclass defines `transform`, which computes its output.

    Args:
        remat: bool. Whether training keeps only the input in memory and calls `transform` again in
            the backward pass. This takes less memory and more time; the gradients are the same.
        **kwargs: As for `BaseLayer`.

    Example:
    >>> from keras_paca import layers
    >>> issubclass(layers.MLDCBlock, RecomputedLayer)
    True
    """

    def __init__(self, remat: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remat = check_boolean("remat", remat)

    def transform(self, inputs: Any, training: bool = False) -> Any:
        """Return the layer's output.

        Args:
            inputs: Tensor. The map (b, h, w, c).
            training: bool. Whether the layer is trained.
        """
        raise NotImplementedError

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Apply the layer to the map `inputs` (b, h, w, c)."""
        if not (self.remat and training):
            return self.transform(inputs, training)
        return ops.recompute([self], lambda x: self.transform(x, training=True), inputs)
