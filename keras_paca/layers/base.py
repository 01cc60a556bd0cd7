"""What the library's layers have in common: how they make the layers inside and are made again."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_paca.forms import resolve
from keras_paca.frozen import restore_trainable_state, set_trainable, trainable_state
from keras_paca.layers.policies import default_policy, policy_inside, serialize_policy
from keras_paca.naming import default_name


@functools.cache
def argument_names(cls: type, base: type) -> tuple[str, ...]:
    """Return the names of a class's arguments beside those of a class that it is based on.

    Args:
        cls: type. The class.
        base: type. A class that it is based on.

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
    """Makes the layers inside a layer or a model, each with its name and its dtype policy.

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
        make: Callable[..., keras.layers.Layer],
        path: str,
        *args: Any,
        dtype: Any = None,
        **kwargs: Any,
    ) -> keras.layers.Layer:
        """Return a new layer inside.

        Args:
            make: type or Callable. The layer's class, or a function that makes the layer.
            path: str. Path of the layer from here, such as "query" or "stage1_block1/clustering".
                It ends in the layer's name.
            *args: Arguments of the layer.
            dtype: Dtype or policy of the layer unless it is quantized. By default, the policy of
                the layer or model around it.
            **kwargs: Arguments of the layer.
        """
        return make(*args, **kwargs, **policy_inside(self.given_policy, path, dtype))


class BaseLayer(keras.layers.Layer):
    """A layer that makes others with `make` and remembers which of them don't train.

    Its configuration also tells which layers inside are quantized, so that a quantized model can be
    loaded again.

    Args:
        frozen: Sequence of str. Paths of layers inside that don't train, from a configuration.
        thawed: Sequence of str. Paths of layers that train inside frozen ones.
        name: str. Name of the layer. By default, that of its class, such as "paca_block".
        dtype: Dtype or policy of the layer and of those inside.
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
            set_trainable(self, False)  # now that there are variables
        restore_trainable_state(self, **self._given_state, must_exist=False)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, which are attributes of the same names."""
        state = trainable_state(self) if self.built else self._given_state
        inside = self._flatten_layers(include_self=False, recursive=False)
        arguments = {name: getattr(self, name) for name in argument_names(type(self), BaseLayer)}
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
        """Return the layer of a configuration, in the form that it asks for."""
        wanted, config = resolve(cls, config)
        return super().from_config(config) if wanted is cls else wanted.from_config(config)
