"""Checks of the arguments of `export`, `benchmark` and `quantization_report`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import check_positive


def check_model(model: Any) -> None:
    """Raise an error unless a model is built and has one input, a batch of images.

    Args:
        model: Any. What the user gave as `model`.

    Raises:
        ValueError: If `model` isn't such a model.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> check_model(model)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: `model` must take images (batch, height, width, channels). ...
    """
    if not isinstance(model, keras.Model):
        load = ", such as keras.saving.load_model(path) returns"
        raise ValueError(
            f"`model` must be a keras.Model{load if isinstance(model, (str, Path)) else ''}. "
            f"Received: model={model!r}"
        )
    inputs = getattr(model, "inputs", None)
    if not inputs and (not model.built or isinstance(model, keras.Sequential)):
        raise ValueError(
            "`model` must be built: call it on a batch of images once, or begin it with a "
            f"keras.Input. Received: model={model!r}"
        )
    if not inputs:
        raise ValueError(
            "`model` must be a functional or a Sequential model. Wrap a subclassed one: "
            "keras.Model(inputs, model(inputs)) with inputs = keras.Input((224, 224, 3)). "
            f"Received: model={model!r}"
        )
    if len(inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: {len(inputs)} inputs, "
            f"{', '.join(repr(each.name) for each in inputs)}"
        )
    if len(inputs[0].shape) != 4:
        raise ValueError(
            "`model` must take images (batch, height, width, channels). "
            f"Received: inputs of shape {inputs[0].shape}"
        )


def image_sides(image_size: Any) -> tuple[int, int]:
    """Return the height and the width of an image size, which may be given as one integer.

    Args:
        image_size: int or (int, int). What the user gave as `image_size`.

    Returns:
        tuple of int. (height, width).

    Raises:
        ValueError: If `image_size` is anything else, or isn't positive.

    Example:
    >>> image_sides(224)
    (224, 224)
    """
    sides = image_size if isinstance(image_size, (tuple, list, np.ndarray)) else [image_size] * 2
    if len(sides) != 2 or not all(_is_positive_integer(side) for side in sides):
        raise ValueError(
            "`image_size` must be a height and a width, or one integer. "
            f"Received: image_size={image_size!r}"
        )
    return int(sides[0]), int(sides[1])


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value > 0


def input_shape(model: keras.Model, image_size: Any = None, batch_size: Any = None) -> tuple:
    """Return the shape of a model's input, with sizes from the user where the model takes any.

    Args:
        model: keras.Model. A model that `check_model` accepts.
        image_size: int or (int, int). Height and width; by default the model's.
        batch_size: int. Images at a time; by default the model's.

    Returns:
        tuple. (batch, height, width, channels), with `None` for what neither fixes.

    Raises:
        ValueError: If `image_size` or `batch_size` isn't positive, or isn't the model's own.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, input_shape=(None, None, 3))
    >>> input_shape(model, image_size=(64, 96))
    (None, 64, 96, 3)
    """
    batch, height, width, channels = model.inputs[0].shape
    if image_size is not None:
        sides = image_sides(image_size)
        if any(own not in (None, side) for own, side in zip((height, width), sides, strict=True)):
            raise ValueError(
                f"`image_size` must be the model's own, {(height, width)}, or the model built "
                f"with input_shape=(None, None, {channels}). Received: image_size={image_size!r}"
            )
        height, width = sides
    if batch_size is not None:
        check_positive("batch_size", batch_size)
        if batch not in (None, batch_size):
            raise ValueError(
                f"`batch_size` must be the model's own, {batch}. "
                f"Received: batch_size={batch_size!r}"
            )
        batch = int(batch_size)
    return batch, height, width, channels


def named_path(path: Any) -> Path:
    """Return the path of a file or folder to write.

    Args:
        path: str or Path. What the user gave as `path`.

    Returns:
        Path. The same path.

    Raises:
        ValueError: If `path` isn't a path, or doesn't end in a name.

    Example:
    >>> named_path("exports/model.onnx").name
    'model.onnx'
    """
    if not isinstance(path, (str, os.PathLike)) or not Path(path).name:
        raise ValueError(f"`path` must be the name of a file or folder. Received: path={path!r}")
    return Path(path)


def check_folder(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise an error unless files can be written at a path.

    Args:
        path: Path. The file or folder to write.
        suffixes: sequence of str. The suffixes of all files that are written under that name.

    Raises:
        FileNotFoundError: If the folder that contains it doesn't exist.
        PermissionError: If the folder that contains it can't be written to.
        IsADirectoryError: If there is a folder with the name of one of the files.

    Example:
    >>> check_folder(Path("no_such_folder/model.onnx"))
    Traceback (most recent call last):
        ...
    FileNotFoundError: No such folder: no_such_folder
    """
    for file in (path.with_suffix(suffix) for suffix in suffixes):
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"No such folder: {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} can't be written to")
