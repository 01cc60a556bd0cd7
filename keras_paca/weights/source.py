"""Any file of weights as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_paca.weights.checkpoint import read_checkpoint
from keras_paca.weights.keras_file import read_keras_file


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of a file.

    Attributes:
        name: the file, for messages.
        official: whether the keys and layouts are the official PyTorch ones; else those of
            `read_keras_file`.
        tensors: {key: array}.
    """

    name: str
    official: bool
    tensors: Mapping[str, np.ndarray]


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of weights.

    Args:
        path: an official `.pth`, a `.safetensors` with official keys, a `.weights.h5` or `.keras`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: a `ValueError`, if the file is not what its name says, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            '`weights` must be "imagenet", None or the path of a file. '
            f"There is no file at {str(path)!r}"
        )
    if path.suffix in (".keras", ".h5"):
        return Checkpoint(str(path), official=False, tensors=read_keras_file(path))
    return Checkpoint(str(path), official=True, tensors=read_checkpoint(path))
