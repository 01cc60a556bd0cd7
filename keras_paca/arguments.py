"""Checks of arguments that several models and data sets have."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any

import numpy as np


def as_numpy(array: Any) -> np.ndarray:
    """Convert an array or a tensor of any library to a NumPy array.

    Args:
        array: array or Tensor. What is to be converted.

    Returns:
        np.ndarray.

    Example:
    >>> as_numpy([1.0, 2.0])
    array([1., 2.])
    """
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return array.detach().cpu().numpy()
    return np.asarray(array)


def refuse_16_bits(images: Any) -> None:
    """Refuse images of integers above 255, all of which would become white.

    Args:
        images: Any. An array or a tensor of any shape. Anything else is accepted.

    Raises:
        ValueError: If the images are integers and one of them is above 255.

    Example:
    >>> refuse_16_bits(np.array([65535], "uint16"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: Images of integers must lie in 0..255; divide those of 16 bits by 257. ...
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
    """Check that an argument is `True` or `False`.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.

    Returns:
        bool. The value.

    Raises:
        ValueError: If it is anything else, such as the text "False", which Python treats as true.

    Example:
    >>> check_boolean("use_bias", np.True_)
    True
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def check_rate(name: str, value: Any) -> float:
    """Check that an argument is a dropout rate.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.

    Returns:
        float. The value.

    Raises:
        ValueError: If the value isn't a number in [0, 1).

    Example:
    >>> check_rate("dropout_rate", 0.1)
    0.1
    """
    if not _is_real(value) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={value!r}")
    return value


def check_share(name: str, value: Any) -> float:
    """Check that an argument is a share of a whole, or a threshold of shares.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.

    Returns:
        float. The value.

    Raises:
        ValueError: If the value isn't a number in [0, 1].

    Example:
    >>> check_share("threshold", 1)
    1.0
    """
    if not _is_real(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must lie in [0, 1]. Received: {name}={value!r}")
    return float(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return an argument that is one of a few.

    Args:
        name: str. Name of the argument.
        value: Any. What the caller gave.
        choices: Sequence. What it may be.

    Raises:
        ValueError: If it is none of them.

    Example:
    >>> check_choice("pooling", "avg", (None, "avg", "max"))
    'avg'
    """
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")
    return value


def check_factor(name: str, value: Any) -> float:
    """Check that an argument is a finite factor that isn't negative.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.

    Returns:
        float. The value.

    Raises:
        ValueError: If the value isn't a number in [0, inf).

    Example:
    >>> check_factor("layer_scale", 1)
    1.0
    """
    if not _is_real(value) or not 0 <= value < math.inf:
        raise ValueError(
            f"`{name}` must be a finite number of at least 0. Received: {name}={value!r}"
        )
    return float(value)


def check_ratio(name: str, value: Any, channels: int | None = None) -> float:
    """Check that an argument is the width of a hidden layer as a multiple of the channels.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.
        channels: int. Number of channels, if it is known.

    Returns:
        float. The value.

    Raises:
        ValueError: If the value isn't a finite number above 0, or makes the layer narrower than one
            unit.

    Example:
    >>> check_ratio("mlp_ratio", 4, channels=8)
    4.0
    """
    is_width = _is_real(value) and 0 < value < math.inf
    if not is_width or (channels is not None and int(channels * value) < 1):
        shown = "" if channels is None else f" for {channels} channels"
        raise ValueError(
            f"`{name}` must make the hidden layer at least one unit wide. "
            f"Received: {name}={value!r}{shown}"
        )
    return float(value)


def check_positive(name: str, value: Any) -> int:
    """Check that an argument is a positive integer.

    Args:
        name: str. Name of the argument.
        value: Any. Its value.

    Returns:
        int. The value.

    Raises:
        ValueError: If the value isn't an integer of at least 1.

    Example:
    >>> check_positive("num_heads", 0)
    Traceback (most recent call last):
    ...
    ValueError: `num_heads` must be a positive integer. Received: num_heads=0
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
    return number


def check_class_names(names: Any, count: int | None) -> tuple[str, ...] | None:
    """Check the names of classes.

    Args:
        names: Sequence of str or None. The names.
        count: int or None. The number of classes; `None` for a model without classes.

    Returns:
        tuple of str, or None. The names; `None` if there are none.

    Raises:
        ValueError: If the number of names isn't that of the classes, or if they aren't strings.

    Example:
    >>> check_class_names(["cat", "dog"], 2)
    ('cat', 'dog')
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
    """Add the class names and the evaluation transform of a file, unless the caller gave them.

    Args:
        options: dict. Arguments of a model. It is changed in place.
        known: Mapping. "class_names" and "evaluation_transform", as far as the file has them.
        count: int. The number of classes of the model. Class names of another number of classes
            aren't added.

    Example:
    >>> options = {}
    >>> complete(options, {"class_names": ["cat", "dog"]}, 2)
    >>> options
    {'class_names': ['cat', 'dog'], 'evaluation_transform': None}
    """
    names = known.get("class_names")
    if options.get("class_names") is None and names and len(names) == count:
        options["class_names"] = names
    if options.get("evaluation_transform") is None:
        options["evaluation_transform"] = known.get("evaluation_transform")


def check_transform(transform: Any, keys: Sequence[str]) -> dict[str, Any] | None:
    """Check the arguments of an evaluation transform.

    Args:
        transform: Mapping or None. Values for some of the keys.
        keys: Sequence of str. The keys that the transform of the model can have, such as
            "image_size" and "crop".

    Returns:
        dict or None. The arguments, with "image_size" as [height, width].

    Raises:
        ValueError: If there is another key, if a side isn't an integer of at least 32, or if the
            crop isn't in (0, 1].

    Example:
    >>> check_transform({"image_size": 224, "crop": 0.9}, ("image_size", "crop"))
    {'image_size': [224, 224], 'crop': 0.9}
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
    """Join the first parts of a list, and add how many more there are.

    Args:
        parts: Sequence of str. The parts.
        most: int. The maximum number of parts to name.
        separator: str. The text between two parts.

    Returns:
        str. The text.

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
