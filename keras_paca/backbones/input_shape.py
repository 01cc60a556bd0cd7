"""Checks of the input of a backbone."""

import operator
from typing import Any

import keras


def check_input_shape(shape: Any, include_preprocessing: bool) -> tuple[int | None, ...]:
    """Check the argument `input_shape` and return it, (None, None, 3) by default.

    Args:
        shape: Any. The argument.
        include_preprocessing: bool. Whether the model normalises RGB.

    Returns:
        tuple. (height, width, channels), with `None` for any height or width.

    Raises:
        ValueError: If it isn't (height, width, channels) with sides of at least 32.

    Example:
    >>> check_input_shape(None, True)
    (None, None, 3)
    """
    try:
        sides = (None, None, 3) if shape is None else tuple(shape)
        numbers = [n if n is None or isinstance(n, bool) else operator.index(n) for n in sides]
    except TypeError:  # such as 224, or a side that is no integer
        numbers = []
    whole = len(numbers) == 3 and not any(isinstance(number, bool) for number in numbers)
    if (
        not whole
        or any(side is not None and side < 32 for side in numbers[:2])
        or numbers[2] is None
        or numbers[2] < 1
    ):
        raise ValueError(
            "`input_shape` must be (height, width, channels), such as (224, 224, 3), channels last "
            "whatever the global image data format, with sides from 32 or `None` for any. "
            f"Received: input_shape={shape!r}"
        )
    shape = tuple(numbers)
    if include_preprocessing and shape[2] != 3:
        raise ValueError(
            "`include_preprocessing=True` normalises RGB and needs 3 channels; pass "
            f"`include_preprocessing=False` for others. Received: input_shape={shape}"
        )
    return shape


def shape_of_tensor(tensor: Any, input_shape: Any) -> tuple[int | None, ...]:
    """Return the shape of the argument `input_tensor` without the batch.

    Args:
        tensor: Any. The argument `input_tensor`.
        input_shape: Any. The argument `input_shape`, with which the tensor must agree.

    Raises:
        ValueError: If it isn't a symbolic tensor, or has another shape than `input_shape`.

    Example:
    >>> shape_of_tensor(keras.Input((32, 32, 3)), None)
    (32, 32, 3)
    """
    if not isinstance(tensor, keras.KerasTensor):
        raise ValueError(
            "`input_tensor` must be a `keras.Input` or another symbolic Keras tensor. "
            f"Received: input_tensor={tensor!r}"
        )
    shape = tuple(tensor.shape[1:])
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(
            "`input_shape` and `input_tensor` must agree where both are given. "
            f"Received: input_shape={tuple(input_shape)} and a tensor of shape {shape}"
        )
    return shape


def is_plain_input(tensor: Any) -> bool:
    """Return whether a tensor is an input of the kind that a model creates by default.

    Args:
        tensor: KerasTensor. The tensor.

    Example:
    >>> is_plain_input(keras.Input((32, 32, 3)))
    True
    """
    sources = keras.utils.get_source_inputs(tensor)
    return len(sources) == 1 and sources[0] is tensor and tensor.dtype == keras.config.floatx()


def describe_input(tensor: Any, input_shape: Any) -> tuple[tuple[int | None, ...], str]:
    """Return the shape and the name of the `keras.Input` that a caller passed.

    Args:
        tensor: KerasTensor. The argument `input_tensor`.
        input_shape: Sequence of int. The argument `input_shape`, or `None`.

    Raises:
        ValueError: If it isn't a `keras.Input` of Keras's float type, or has another shape.

    Example:
    >>> describe_input(keras.Input((64, 96, 3), name="images"), None)
    ((64, 96, 3), 'images')
    """
    input_shape = shape_of_tensor(tensor, input_shape)
    if not is_plain_input(tensor):
        raise ValueError(
            f"`input_tensor` must be a `keras.Input` of {keras.config.floatx()}; call the model on "
            f"other tensors. Received: input_tensor={tensor!r}"
        )
    return input_shape, tensor._keras_history.operation.name
