"""Any file of weights as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.weights.checkpoint import read_checkpoint, read_safetensors_metadata
from keras_paca.weights.keras_file import read_keras_config, read_keras_file

INFORMATION = ("class_names", "evaluation_transform")


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of a file.

    Attributes:
        name: the file, for messages.
        official: whether the keys and layouts are the official PyTorch ones; else those of
            `read_keras_file`.
        tensors: {key: array}.
        information: what the file says of its model: "class_names" and "evaluation_transform",
            where it has them.
    """

    name: str
    official: bool
    tensors: Mapping[str, np.ndarray]
    information: Mapping[str, Any] = field(default_factory=dict)


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
        tensors = read_keras_file(path)
        found = read_keras_config(path) if path.suffix == ".keras" else {}
        return Checkpoint(str(path), False, tensors, _information(found))
    tensors = read_checkpoint(path)
    found = read_safetensors_metadata(path) if path.suffix == ".safetensors" else {}
    return Checkpoint(str(path), True, tensors, _information(found))


def _information(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in INFORMATION if found.get(name)}
