"""What the models around a pyramid backbone share."""

from typing import Any

import keras

LEVELS = ("P2", "P3", "P4", "P5")  # strides 4, 8, 16, 32


def pyramid_levels(backbone: Any) -> list[keras.KerasTensor]:
    """Return a backbone's levels P2 to P5, the finest first.

    Raises:
        ValueError: if it has no such levels.
    """
    levels = getattr(backbone, "pyramid_outputs", None) or {}
    if not set(LEVELS) <= set(levels):
        raise ValueError(
            f"`backbone` must have `pyramid_outputs` with the levels {LEVELS}, as a PaCaViT has. "
            f"Received: {backbone!r} with {list(levels)}"
        )
    return [levels[level] for level in LEVELS]


class PyramidModel(keras.Model):
    """A functional model with its own `compile`, which loading a file calls again."""

    def compile_from_config(self, config: dict) -> None:
        """Compile as the model that was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)
