"""Reading a file of weights, of any supported format, as arrays."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.forms import KEY
from keras_paca.weights.checkpoint import read_checkpoint, read_safetensors_metadata
from keras_paca.weights.keras_file import read_keras_config, read_keras_file

INFORMATION = ("class_names", "evaluation_transform")


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of a file of weights.

    Args:
        name: str. Path of the file, for error messages.
        official: bool. Whether the keys and layouts are those of the official PyTorch code.
            Otherwise they are those of a saved Keras model, as `read_keras_file` describes them.
        tensors: Mapping of str to np.ndarray. The arrays by their keys.
        information: Mapping. What the file says about its model: "class_names" and
            "evaluation_transform", as far as the file has them.

    Example:
    >>> import numpy as np
    >>> from keras_paca.weights import Checkpoint
    >>> checkpoint = Checkpoint("example.pth", True, {"head.bias": np.zeros(3)})
    >>> checkpoint.tensors["head.bias"].shape
    (3,)
    """

    name: str
    official: bool
    tensors: Mapping[str, np.ndarray]
    information: Mapping[str, Any] = field(default_factory=dict)


def open_checkpoint(
    path: str | Path, ema: bool = False, named: Sequence[str] = ("imagenet",)
) -> Checkpoint:
    """Read a file of weights.

    Nothing in the file is executed.

    Args:
        path: str or Path. An official `.pth` file, a `.safetensors` file with official keys, a
            `.weights.h5` file or a `.keras` file.
        ema: bool. Whether to read the exponential moving average of the weights, which some
            official files have beside the weights.
        named: Sequence of str. What the argument `weights` may be beside a path and `None`, for
            messages.

    Returns:
        Checkpoint. The arrays, and what the file says about its model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `path` is no path, if the file holds a fused model, or if there is no moving
            average with `ema=True`.
        CheckpointError: If the file is damaged, or of another format than its name says. This is a
            subclass of `ValueError`.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from keras_paca.weights import open_checkpoint, write_safetensors
    >>> path = Path(tempfile.mkdtemp()) / "example.safetensors"
    >>> write_safetensors(path, {"head.bias": np.zeros(3)})
    >>> checkpoint = open_checkpoint(path)
    >>> checkpoint.official, list(checkpoint.tensors)
    (True, ['head.bias'])
    """
    known = ", ".join(f'"{name}"' for name in named)
    expected = f"`weights` must be {known}, None or the path of a file."
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{expected} Received: weights={path!r}")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{expected} There is no file at {str(path)!r}")
    if path.suffix in (".keras", ".h5"):
        if ema:
            raise ValueError(
                "Only an official file has a moving average beside its weights. "
                f"Received: ema=True, {str(path)!r}"
            )
        found = read_keras_config(path) if path.suffix == ".keras" else {}
        if _is_fused(found):
            raise ValueError(
                f"{path} holds a fused model, whose weights fit no other model. Open it with "
                "`keras.saving.load_model`, or take a file saved before `keras_paca.fuse`."
            )
        tensors = read_keras_file(path)
        return Checkpoint(str(path), False, tensors, _information(found))
    tensors = read_checkpoint(path, ema=ema)
    found = read_safetensors_metadata(path) if path.suffix == ".safetensors" else {}
    return Checkpoint(str(path), True, tensors, _information(found))


def _is_fused(config: Any) -> bool:
    """Return whether a configuration is that of a fused model, or of one on a fused backbone."""
    if not isinstance(config, Mapping):
        return False
    backbone = config.get("backbone")
    inside = backbone.get("config") if isinstance(backbone, Mapping) else None
    return config.get(KEY) is True or _is_fused(inside)


def _information(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in INFORMATION if found.get(name)}
