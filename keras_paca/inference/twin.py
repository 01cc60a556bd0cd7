"""The base class of the twins of layers: how they create their sub-layers."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import keras

from keras_paca.forms import KEY, twin_of
from keras_paca.layers.base import LayerMaker


class TwinMaker(LayerMaker):
    """Creates sub-layers as `LayerMaker` does, but twins of those that have one.

    Args:
        policy: DTypePolicy. The policy that the layer or model was given.
        changes: dict. {path, or pattern of paths such as "projection*": arguments of the sub-layer
            to change, or `None` for no sub-layer}.

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

    def __call__(self, cls: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
        """Create a sub-layer; see `LayerMaker`."""
        fitting = (each for name, each in self.changes.items() if fnmatchcase(path, name))
        changes = next(fitting, {})
        if changes is None:
            return None
        twin = twin_of(cls) if isinstance(cls, type) else None
        return super().__call__(twin or cls, path, *args, **{**kwargs, **changes})


class Twin:
    """First base class of a layer's twin; the second base class is the layer's class.

    A twin has the same name as the layer's class, because Keras finds the layers of a list in a
    file by the names of their classes. It defines what differs: the arguments of sub-layers, the
    computation, and in `fold` how its weights are computed from those of the layer.

    Attributes:
        changes: dict. The argument `changes` of `TwinMaker`.

    Example:
    >>> from keras_paca import forms, layers
    >>> twin = forms.twin_of(layers.MLPClustering)
    >>> twin.changes
    {'projection': {'use_bias': False}}
    """

    changes: ClassVar[Mapping[str, Mapping[str, Any] | None]] = {}

    def maker(self, policy: Any) -> TwinMaker:
        """Return the function that creates the sub-layers."""
        return TwinMaker(policy, self.changes)

    def get_config(self) -> dict:
        """Return the arguments of the constructor, and that this is the form for inference."""
        return {**super().get_config(), KEY: True}


class NormalisingTwin(Twin):
    """`Twin` of the first layer of a model, whose weights include a part of the normalisation.

    Args:
        *args: Arguments of the layer.
        mean: Sequence of float. Mean of each channel of the images, or `None` for 0.
        deviation: Sequence of float. Standard deviation of each channel, none of them 0, or `None`
            for 1.
        **kwargs: Arguments of the layer.

    Example:
    >>> from keras_paca import forms, layers
    >>> twin = forms.twin_of(layers.ConvStem)
    >>> issubclass(twin, NormalisingTwin), twin(8, mean=(0.5, 0.5, 0.5)).mean
    (True, [0.5, 0.5, 0.5])
    """

    takes_normalisation = True  # the model passes `mean` and `deviation` instead of a layer

    def __init__(
        self,
        *args: Any,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.mean = None if mean is None else [float(value) for value in mean]
        self.deviation = None if deviation is None else [float(value) for value in deviation]


def without_affine(norm: keras.layers.Layer | None) -> None:
    """Remove the scale and the offset of a norm that isn't built yet.

    Args:
        norm: keras.layers.LayerNormalization or None. The norm.

    Example:
    >>> norm = keras.layers.LayerNormalization()
    >>> without_affine(norm)
    >>> norm.build((None, 4))
    >>> norm.weights
    []
    """
    if norm is not None:
        norm.center = norm.scale = False
