"""What the twins of layers have in common: how they make the layers inside."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import keras

from keras_paca.forms import KEY, twin_of
from keras_paca.layers.base import LayerMaker


class TwinMaker(LayerMaker):
    """Makes layers as `LayerMaker` does, twins where there are some, and with other arguments.

    Args:
        policy: DTypePolicy. The policy that the layer or model around them was given.
        changes: dict. {path, or pattern of paths such as "projection*": arguments that the layer
            gets instead, or `None` for no layer}.

    Example:
    >>> from keras_paca import layers
    >>> make = TwinMaker(keras.dtype_policies.get("float32"), {"query": {"use_bias": False}})
    >>> make(layers.DepthwiseConv2D, "depthwise", 3).get_config()["fused"]
    True
    >>> make(keras.layers.Dense, "query", 8).use_bias
    False
    """

    def __init__(
        self, policy: Any, changes: Mapping[str, Mapping[str, Any] | None] | None = None
    ) -> None:
        super().__init__(policy)
        self.changes = dict(changes or {})

    def __call__(self, make: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
        """Return a new layer inside; see `LayerMaker`."""
        fitting = (each for name, each in self.changes.items() if fnmatchcase(path, name))
        changes = next(fitting, {})
        if changes is None:
            return None
        twin = twin_of(make) if isinstance(make, type) else None
        return super().__call__(twin or make, path, *args, **{**kwargs, **changes})


class Twin:
    """Comes first among the bases of a layer's twin.

    The second base is the layer itself. The twin has the same name, because a file finds the layers
    in a list by the names of their classes. It says what it does otherwise: which arguments the
    layers inside get, how it computes, and by `fold` where its weights come from.

    Attributes:
        changes: dict. What `TwinMaker` takes for the layers inside.

    Example:
    >>> from keras_paca import forms, layers
    >>> twin = forms.twin_of(layers.MLPClustering)
    >>> twin.changes
    {'projection': {'use_bias': False}}
    """

    changes: ClassVar[Mapping[str, Mapping[str, Any] | None]] = {}

    def maker(self, policy: Any) -> TwinMaker:
        """Return what makes the layers inside."""
        return TwinMaker(policy, self.changes)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, and that this is the form for inference."""
        return {**super().get_config(), KEY: True}


def without_affine(norm: keras.layers.Layer | None) -> None:
    """Have a norm that isn't built yet neither scale nor shift, as the next projection does it.

    Args:
        norm: `keras.layers.LayerNormalization`, or `None` for no norm.
    """
    if norm is not None:
        norm.center = norm.scale = False
