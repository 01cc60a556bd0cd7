"""Families of backbones in their form for inference: the same graph, built from twins."""

from collections.abc import Mapping
from typing import Any

from keras_paca import weights
from keras_paca.backbones.base import Backbone
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.forms import KEY, register_maker, twin_of
from keras_paca.inference.twin import TwinMaker
from keras_paca.layers.policies import exact_dtype


class _TwinGraphMaker(TwinMaker, GraphMaker):
    """Creates the layers of a graph as `GraphMaker` does, but twins of the layers that have one.

    If the twin of the first layer can normalise the images, it does, except in half precision.

    Args:
        policy: DTypePolicy. The policy that the model was given.
        normalisation: tuple. Mean and deviation of images in 0..1, or `None`.
    """

    def __init__(self, policy: Any, normalisation: tuple | None) -> None:
        GraphMaker.__init__(self, policy, normalisation)
        self.changes = {}

    def first(self, cls: type, path: str, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Normalise the images, and apply a layer that reads them; see `GraphMaker`."""
        takes = getattr(twin_of(cls), "takes_normalisation", False)
        is_exact = self.policy.compute_dtype == exact_dtype(self.policy)
        if not (takes and is_exact and self.normalisation is not None):
            return super().first(cls, path, images, *args, **kwargs)
        self.is_normalised = True
        mean, deviation = self.normalisation
        return self(cls, path, *args, **kwargs, mean=mean, deviation=deviation)(images)


def make_twin(family: type) -> type | None:
    """Return the form for inference of a family of backbones, or `None` for another class.

    Args:
        family: type. A subclass of `Backbone`.

    Example:
    >>> import keras_paca
    >>> twin = make_twin(keras_paca.PaCaViT)
    >>> options = {"hidden_dims": (8, 8, 8, 8), "depths": 1, "num_heads": 1}
    >>> twin(**options).count_params() < keras_paca.PaCaViT(**options).count_params()
    True
    """
    if not issubclass(family, Backbone) or family is Backbone:
        return None

    def get_config(self: Any) -> dict:
        """Return the arguments of the constructor, and that this is the form for inference."""
        return {**family.get_config(self), KEY: True}

    def checkpoint_map(cls: type, config: Mapping[str, Any]) -> weights.KeyMap:
        """Raise an error, because official checkpoints have other weights."""
        raise ValueError(
            "The weights of a fused model differ from those of official checkpoints. Load a "
            "checkpoint into the original model and fuse it then: `keras_paca.fuse(model)`."
        )

    def reduce(self: Any) -> tuple:
        """Pickle by the family's class, which finds this one."""
        return family._unpickle_model, family.__reduce__(self)[1]

    members = {
        "__doc__": family.__doc__,
        "__module__": family.__module__,
        "__qualname__": family.__qualname__,
        "__reduce__": reduce,
        "maker": _maker_of(family),
        "get_config": get_config,
        "checkpoint_map": classmethod(checkpoint_map),
    }
    return type(family.__name__, (family,), members)


def _maker_of(family: type) -> type:
    """Return what makes the graph of a family of twins."""
    if family.maker is GraphMaker:
        return _TwinGraphMaker
    return type(family.maker.__name__, (_TwinGraphMaker, family.maker), {})


register_maker(make_twin)
