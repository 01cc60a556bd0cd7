"""What `keras-paca export` and `benchmark` share: the image size and the names of options."""

import argparse
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from keras_paca.commands.opening import transform_of

OPTIONS = {  # argument of the library -> what was typed
    "path": "OUT",
    "model": "MODEL",
    "format": "--format",
    "image_size": "--image-size",
    "batch_size": "--batch-size",
    "quantize": "--quantize",
    "representative_data": "--representative",
}


def image_size(options: argparse.Namespace) -> tuple[int, int] | None:
    """Return the (height, width) that `--image-size` asks for, `None` without it.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        tuple of int or None. (height, width).

    Raises:
        ValueError: If there are more than two numbers.

    Example:
    >>> image_size(argparse.Namespace(image_size=[224]))
    (224, 224)
    """
    size = options.image_size
    if size is None:
        return None
    if len(size) > 2:
        raise ValueError(f"--image-size takes a side, or height and width. Received: {size}")
    return (size[0], size[-1])


def default_size(model: Any) -> Any:
    """Return the size at which a model that takes any size is evaluated, if its file says one.

    Args:
        model: keras.Model. The model.

    Returns:
        list of int or None. [height, width]; `None` if the model takes one size only, or if it
        doesn't say at which size it is evaluated.

    Example:
    >>> from keras_paca import PaCaViT
    >>> options = {"input_shape": (None, None, 3), "evaluation_transform": {"image_size": 96}}
    >>> default_size(PaCaViT((8, 8, 8, 8), 1, 1, classes=2, **options))
    [96, 96]
    """
    takes_any = tuple(model.inputs[0].shape[1:3]) == (None, None)
    return transform_of(model).get("image_size") if takes_any else None


@contextlib.contextmanager
def in_words_of_options() -> Iterator[None]:
    """Replace the library's arguments by the command's options in the messages of errors.

    Raises:
        ValueError: If such an error is raised inside, with its message in the options' words.

    Example:
    >>> with in_words_of_options():
    ...     raise ValueError("`image_size` must be positive. Received: image_size=0")
    Traceback (most recent call last):
        ...
    ValueError: --image-size must be positive. Received: --image-size 0
    """
    names = "|".join(OPTIONS)
    try:
        yield
    except ValueError as error:
        words = str(error).replace("`check_data`, or `check=False`", "--no-check")
        words = re.sub(rf"`({names})`", lambda found: OPTIONS[found[1]], words)
        words = re.sub(rf"\b({names})=None", lambda found: f"no {OPTIONS[found[1]]}", words)
        words = re.sub(
            rf"\b({names})=(['\"]?)(.*?)\2(?=[\s,.;]|$)",
            lambda found: f"{OPTIONS[found[1]]} {found[3]}",
            words,
        )
        raise ValueError(words) from error
