"""Checks of arguments that models and data have in common."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any

import numpy as np


def as_numpy(array: Any) -> np.ndarray:
    """Return an array or a tensor of any library as a NumPy array."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return array.detach().cpu().numpy()
    return np.asarray(array)


def refuse_16_bits(images: Any) -> None:
    """Raise where images are integers above 255, which would be taken for white.

    Args:
        images: Array or tensor of any shape; anything else passes.

    Raises:
        ValueError: If they are.
    """
    dtype = str(getattr(images, "dtype", "")).rpartition(".")[2]
    if dtype not in ("uint16", "int16", "uint32", "int32", "uint64", "int64"):
        return
    largest = as_numpy(images).max(initial=0)
    if largest > 255:
        raise ValueError(
            "Images of integers must lie in 0..255; divide those of 16 bits by 257. "
            f"Received: images of the dtype {dtype} with values up to {largest}"
        )


def check_boolean(name: str, value: Any) -> bool:
    """Return an argument that is `True` or `False`.

    Raises:
        ValueError: If it is anything else, such as the text "False", which counts as true.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def check_rate(name: str, value: Any) -> float:
    """Return an argument that is a rate of dropout.

    Raises:
        ValueError: If it is no number in [0, 1).
    """
    if not _is_real(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={value!r}")
    return value


def check_factor(name: str, value: Any) -> float:
    """Return an argument by which something is multiplied.

    Raises:
        ValueError: If it is no finite number from 0.
    """
    if not _is_real(value) or not 0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a finite number from 0. Received: {name}={value!r}")
    return float(value)


def check_positive(name: str, value: Any) -> int:
    """Return an argument that counts something.

    Raises:
        ValueError: If it is no integer from 1.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    return number


def check_class_names(names: Any, count: int | None) -> tuple[str, ...] | None:
    """Return the names of classes as a tuple, checked.

    Args:
        names: Sequence of str, or `None`.
        count: int. The number of classes, `None` for a model without classes.

    Raises:
        ValueError: If there are more or fewer names than classes, or they aren't text.
    """
    if names is None:
        return None
    if count is None:
        raise ValueError(
            "`class_names` is for models with classes. Received: class_names for a model without"
        )
    ordered = isinstance(names, Iterable) and not isinstance(names, str | bytes | Mapping | Set)
    listed = [*names] if ordered else []
    if len(listed) != count or not all(isinstance(name, str) for name in listed):
        raise ValueError(
            f"`class_names` must hold one str for each of the {count} classes. "
            f"Received: class_names={_shorten(names)}"
        )
    return tuple(str(name) for name in listed)


def complete(options: dict[str, Any], known: Mapping[str, Any], count: int) -> None:
    """Add class names and an evaluation transform that are known, where the caller gave none.

    Args:
        options: dict. Arguments of a model; changed.
        known: dict. "class_names" and "evaluation_transform" of a file, where it has them.
        count: int. The model's number of classes. Names of more or fewer classes are left out.
    """
    names = known.get("class_names")
    if options.get("class_names") is None and names and len(names) == count:
        options["class_names"] = names
    if options.get("evaluation_transform") is None:
        options["evaluation_transform"] = known.get("evaluation_transform")


def check_transform(transform: Any, keys: Sequence[str]) -> dict[str, Any] | None:
    """Return the arguments of an evaluation transform, checked.

    Args:
        transform: Mapping with some of the keys, or `None`.
        keys: Sequence of str. The keys that the model's transform has.

    Raises:
        ValueError: If there is another key, or a value of another kind.
    """
    if transform is None:
        return None
    unknown = set(transform) - set(keys) if isinstance(transform, Mapping) else {"no mapping"}
    if unknown:
        raise ValueError(
            f"`evaluation_transform` must be a dict with the keys {', '.join(keys)}. "
            f"Received: evaluation_transform={transform!r}"
        )
    checked = {}
    for key, value in transform.items():
        if key == "crop":
            good, value = _is_real(value) and 0 < value <= 1, value
        elif key == "image_size":
            value = [value, value] if _is_side(value) else value
            good = isinstance(value, list | tuple) and len(value) == 2
            good = good and all(_is_side(side) for side in value)
            value = [int(side) for side in value] if good else value
        else:
            good = _is_side(value)
        if not good:
            raise ValueError(
                "`evaluation_transform` must hold sides from 32 and a crop in (0, 1]. "
                f"Received: {key}={value!r}"
            )
        checked[key] = value
    return checked


def join_first(parts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first parts of a list, and say how many more there are.

    Args:
        parts: Sequence of str. The list.
        most: int. How many of them a message names.
        separator: str. What stands between them.

    Example:
    >>> join_first(["a", "b", "c"], 2)
    'a, b, and 1 more'
    """
    more = len(parts) - most
    return separator.join([*parts[:most], *([f"and {more} more"] if more > 0 else [])])


def _is_side(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 32


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shorten(value: Any, most: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
