"""Normalising images for models that don't do it themselves."""

from typing import Any

import numpy as np

from keras_paca.backbones.base import MEAN, STD, Backbone


def normalise_rgb(images: np.ndarray, model: Any = None) -> np.ndarray:
    """Normalise RGB in 0..255, in float32, for models without `include_preprocessing`.

    Args:
        images: np.ndarray. RGB in 0..255, of shape (..., 3).
        model: keras.Model. The model, whose family has its own mean and deviation; a segmenter or
            detector on it. Those of ImageNet are used for others.

    Example:
    >>> normalise_rgb(np.full((1, 1, 3), 127.5)).round(2).tolist()
    [[[0.07, 0.2, 0.42]]]
    """
    mean, deviation = normalisation_of(model)
    return (images / np.float32(255) - np.float32(mean)) / np.float32(deviation)


def normalisation_of(model: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of images in 0..1 with which a model's images are prepared.

    Args:
        model: keras.Model. A `Backbone`, or a segmenter or detector on one; those of ImageNet are
            returned for others.

    Example:
    >>> normalisation_of(None)
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    backbone = getattr(model, "backbone", model)
    if not isinstance(backbone, Backbone):
        return MEAN, STD
    return backbone.normalisation(backbone.get_config())
