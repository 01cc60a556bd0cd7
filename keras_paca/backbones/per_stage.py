"""Arguments that have one entry for each stage of a pyramid, or one value for all."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_paca.arguments import check_positive
from keras_paca.backbones.pyramid import LEVELS

STAGES = len(LEVELS)


def per_stage(name: str, value: Any, stages: int = STAGES) -> tuple:
    """Check an argument and return it with one entry per stage.

    Args:
        name: str. Name of the argument.
        value: Any. One value, or a sequence with one for each stage.
        stages: int. Number of stages.

    Raises:
        ValueError: If it is a sequence of another length.

    Example:
    >>> per_stage("mlp_ratio", 4.0)
    (4.0, 4.0, 4.0, 4.0)
    """
    if np.ndim(value) == 0 and not isinstance(value, str | set | dict):
        return (value,) * stages
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != stages:
        raise ValueError(
            f"`{name}` must have one entry per stage ({stages}). Received: {name}={value!r}"
        )
    return tuple(value)


def integers_per_stage(
    name: str, value: Any, least: int = 1, stages: int = STAGES
) -> tuple[int, ...]:
    """Check an argument and return it with one integer per stage.

    Args:
        name: str. Name of the argument.
        value: Any. One integer, or a sequence with one for each stage.
        least: int. The smallest integer that is allowed.
        stages: int. Number of stages.

    Raises:
        ValueError: If an entry isn't an integer, or is less than `least`.

    Example:
    >>> integers_per_stage("depths", [2, 2, 4, 2])
    (2, 2, 4, 2)
    """
    value = per_stage(name, value, stages)
    try:
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        numbers = ()
    if any(isinstance(number, bool) for number in value) or not numbers or min(numbers) < least:
        raise ValueError(f"`{name}` must hold integers from {least}. Received: {name}={value}")
    return numbers


def image_size(name: str, size: Any) -> tuple[int, int] | None:
    """Return an argument that is an image size, or `None`.

    Args:
        name: str. Name of the argument.
        size: Any. One integer for a square, (height, width), or `None`.

    Raises:
        ValueError: If a side is less than 32.

    Example:
    >>> image_size("position_embedding_size", 224)
    (224, 224)
    """
    if size is None:
        return None
    size = (size, size) if np.ndim(size) == 0 else tuple(size)
    size = tuple(check_positive(name, side) for side in size)
    if len(size) != 2 or min(size) < 32:
        raise ValueError(
            f"`{name}` must be an image size (height, width), both from 32. Received: {name}={size}"
        )
    return size
