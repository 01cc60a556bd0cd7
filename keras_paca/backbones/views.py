"""Views of a pyramid backbone for other libraries."""

from typing import Any

import keras

from keras_paca.backbones.pyramid import LEVELS, pyramid_levels


class _View(keras.Model):
    """A model with the layers and the input of a backbone, and other outputs."""

    def __init__(self, backbone: keras.Model, outputs: Any, name: str | None) -> None:
        super().__init__(inputs=backbone.input, outputs=outputs, name=name)
        self.backbone = backbone
        self.dtype_policy = backbone.dtype_policy

    @property
    def hidden_dims(self) -> list[int]:
        """Channels per level."""
        return [level.shape[-1] for level in pyramid_levels(self.backbone)]

    @property
    def image_shape(self) -> tuple:
        """(height, width, channels) of the input, `None` for any size."""
        return tuple(self.backbone.input.shape[1:])

    def get_config(self) -> dict:
        """Return the arguments of the constructor, with the serialized backbone."""
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),  # D-FINE reads it
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "_View":
        """Create a view from its configuration; the dtypes are those of the backbone."""
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        view = cls(backbone, name=config.get("name"))
        if not config.get("trainable", True):
            view.trainable = False
        return view


@keras.saving.register_keras_serializable(package="keras_paca")
class SegFormerEncoder(_View):
    """View of a backbone with the names of levels that KerasHub's `SegFormerBackbone` reads.

    SegFormer numbers the levels from 1, so its P1 to P4 are P2 to P5 here.

    Args:
        backbone: keras.Model. Functional model with `pyramid_outputs` {"P2": KerasTensor, ...
            "P5"}. Its layers are shared, not copied.
        name: str. Name of the model.

    Input shape: That of the backbone.
    Output shape: That of the coarsest level, (batch, height / 32, width / 32, channels).

    Raises:
        ValueError: If the backbone has no such levels.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> list(SegFormerEncoder(backbone).pyramid_outputs)
    ['P1', 'P2', 'P3', 'P4']
    """

    def __init__(self, backbone: keras.Model, name: str | None = None) -> None:
        super().__init__(backbone, pyramid_levels(backbone)[-1], name)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps, {"P1": stride 4, ... "P4": stride 32}."""
        levels = pyramid_levels(self.backbone)
        return {f"P{number}": level for number, level in enumerate(levels, start=1)}


@keras.saving.register_keras_serializable(package="keras_paca")
class DictEncoder(_View):
    """View of a backbone that returns its levels as a dict, for KerasHub's `DFineBackbone`.

    Args:
        backbone: keras.Model. Functional model with `pyramid_outputs` {"P2": KerasTensor, ...
            "P5"}. Its layers are shared, not copied.
        name: str. Name of the model.

    Input shape: That of the backbone.
    Output shape: {"P2": (batch, height / 4, width / 4, channels), ... "P5"}.

    Raises:
        ValueError: If the backbone has no such levels.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> list(DictEncoder(backbone).output)
    ['P2', 'P3', 'P4', 'P5']
    """

    def __init__(self, backbone: keras.Model, name: str | None = None) -> None:
        super().__init__(backbone, dict(zip(LEVELS, pyramid_levels(backbone), strict=True)), name)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps P2 to P5."""
        return dict(zip(LEVELS, pyramid_levels(self.backbone), strict=True))

    @property
    def stage_names(self) -> list[str]:
        """The levels, in order."""
        return list(LEVELS)
