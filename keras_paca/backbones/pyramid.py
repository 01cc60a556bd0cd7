"""What the models around a pyramid backbone ask of it."""

from collections.abc import Mapping
from typing import Any

import keras

LEVELS = ("P2", "P3", "P4", "P5")  # strides 4, 8, 16, 32


@keras.saving.register_keras_serializable(package="keras_paca")
class FunctionalPyramid(keras.Model):
    """A plain functional model as a pyramid backbone, which a file keeps as one.

    `keras.Model` saves its graph and no attribute, such as `pyramid_outputs`, that was added to it.

    Args:
        inputs: KerasTensor. Images (batch, height, width, channels).
        outputs: dict. {"P2": KerasTensor (batch, height / 4, width / 4, channels), ... "P5"}.
        name: str. Name of the model.
    """

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps P2 to P5."""
        return {level: self.output[level] for level in LEVELS}


def as_pyramid(backbone: Any) -> keras.Model:
    """Return a backbone as a model that has its levels after it was saved and loaded, too.

    Args:
        backbone: Functional model with `pyramid_outputs`.

    Returns:
        The backbone itself where its class has the attribute, else a `FunctionalPyramid` with the
        same layers.

    Raises:
        ValueError: If it has no such levels, several inputs, or levels that don't come from its
            input.
    """
    levels = pyramid_levels(backbone)
    inputs = getattr(backbone, "inputs", None)
    if not inputs or len(inputs) != 1 or not isinstance(inputs[0], keras.KerasTensor):
        raise ValueError(
            "`backbone` must be a functional model of one input, the images. "
            f"Received: {backbone!r} with inputs={inputs}"
        )
    if hasattr(type(backbone), "pyramid_outputs"):
        return backbone
    sources = [keras.utils.get_source_inputs(level) for level in levels]
    if any(len(source) != 1 or source[0] is not inputs[0] for source in sources):
        raise ValueError(
            "The maps in `pyramid_outputs` must be computed from the backbone's own input. To put "
            "layers before a backbone, call it as `levels = keras.Model(backbone.input, "
            "backbone.pyramid_outputs)(x)`, make `model = keras.Model(inputs, levels)` and set "
            f"`model.pyramid_outputs = levels`. Received: {backbone!r}"
        )
    outputs = dict(zip(LEVELS, levels, strict=True))
    pyramid = FunctionalPyramid(inputs=inputs[0], outputs=outputs, name=backbone.name)
    pyramid.dtype_policy = backbone.dtype_policy
    return pyramid


def pyramid_levels(backbone: Any) -> list[keras.KerasTensor]:
    """Return a backbone's levels P2 to P5, the finest first.

    Raises:
        ValueError: If it has no such levels.
    """
    levels = getattr(backbone, "pyramid_outputs", None)
    given = levels if isinstance(levels, Mapping) else {}
    missing = [level for level in LEVELS if not isinstance(given.get(level), keras.KerasTensor)]
    if missing:
        kinds = {name: type(level).__name__ for name, level in given.items()}
        raise ValueError(
            f"`backbone` must have `pyramid_outputs` with the levels {LEVELS}, each a KerasTensor, "
            f"as a PaCaViT has. Missing: {', '.join(missing)}. Received: {backbone!r} with "
            f"pyramid_outputs of {kinds if given else type(levels).__name__}"
        )
    return [levels[level] for level in LEVELS]
