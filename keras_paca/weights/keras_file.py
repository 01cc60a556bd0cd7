"""Reading `.weights.h5` and `.keras` files as plain arrays; nothing in them is executed."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from keras_paca.weights.torch_file import CheckpointError

_WEIGHTS = "model.weights.h5"  # inside a .keras archive


def read_keras_file(path: str | Path) -> dict[str, np.ndarray]:
    """Return the weights of a saved Keras model.

    Args:
        path: str or Path. A `.keras` or `.weights.h5` file.

    Returns:
        dict. {key: array}. A key is the path of a layer and the index of the weight in it, such as
        "stage1_block1/attention/query/0" for the kernel of that projection. The state of the
        optimizer is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file isn't a saved Keras model, is damaged or refers to other
            files.

    Example:
    >>> import tempfile
    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")])
    >>> path = Path(tempfile.mkdtemp()) / "example.weights.h5"
    >>> model.save_weights(path)
    >>> {key: array.shape for key, array in read_keras_file(path).items()}
    {'head/0': (2, 3), 'head/1': (3,)}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such file: {path}")
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                file = h5py.File(io.BytesIO(_read_member(archive, path)), "r")
        else:
            file = h5py.File(path, "r")
        with file:
            return _read_groups(file, path)
    except (OSError, zipfile.BadZipFile, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is not a whole saved Keras model: {error}") from error


def read_keras_config(path: str | Path) -> dict[str, Any]:
    """Return the configuration of the model in a `.keras` file, without building the model.

    Args:
        path: str or Path. A `.keras` file.

    Returns:
        dict. The arguments of the model's constructor; empty if the file holds none.

    Raises:
        CheckpointError: If the file isn't a saved Keras model or is damaged. This is a subclass of
            `ValueError`.

    Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> from keras_paca import PaCaViT
    >>> from keras_paca.weights import read_keras_config
    >>> model = PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> path = Path(tempfile.mkdtemp()) / "model.keras"
    >>> model.save(path)
    >>> read_keras_config(path)["hidden_dims"]
    [8, 8, 8, 8]
    """
    config = _read_content(path).get("config")
    return config if isinstance(config, dict) else {}


def read_keras_class(path: str | Path) -> str:
    """Return the registered name of the class of the model in a `.keras` file.

    Args:
        path: str or Path. A `.keras` file.

    Returns:
        str. Such as "keras_paca>PaCaViT"; "" if the file names none.

    Raises:
        CheckpointError: If the file isn't a saved Keras model or is damaged. This is a subclass of
            `ValueError`.

    Example:
    >>> import tempfile
    >>> from keras_paca import PaCaViT
    >>> path = Path(tempfile.mkdtemp()) / "model.keras"
    >>> PaCaViT((8, 8, 8, 8), 1, 1, include_top=False).save(path)
    >>> read_keras_class(path)
    'keras_paca>PaCaViT'
    """
    return _read_content(path).get("registered_name") or ""


def _read_content(path: str | Path) -> dict[str, Any]:
    """Return the serialized model in a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("config.json"))
    except (OSError, zipfile.BadZipFile, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole saved Keras model: {error}") from error
    return content if isinstance(content, dict) else {}


def _read_member(archive: zipfile.ZipFile, path: Path) -> bytes:
    member = archive.getinfo(_WEIGHTS)
    if member.file_size > path.stat().st_size:  # Keras stores the weights uncompressed
        raise CheckpointError(f"{path}: {_WEIGHTS} is compressed, which Keras never does.")
    return archive.read(member)


def _read_groups(file: h5py.File, path: Path) -> dict[str, np.ndarray]:
    names: dict[str, str] = {}  # group -> name of the layer saved there
    datasets: dict[str, Any] = {}

    def visit(key: str, item: Any) -> None:  # links to other files are not visited
        # Others are the states of optimizer and metrics. What a segmenter doesn't use of its
        # backbone is saved apart.
        if not key.startswith(("layers/", "backbone/layers/")):
            return
        if isinstance(item, h5py.Dataset):
            datasets[key] = item
        elif key.endswith("/vars"):
            names[key.removesuffix("/vars")] = str(item.attrs.get("name", ""))

    file.visititems(visit)
    if not datasets:
        raise CheckpointError(f"{path} holds no layers of a Keras model.")
    arrays = {}
    for key, dataset in datasets.items():
        group, _, index = key.rpartition("/vars/")
        if not group:
            raise CheckpointError(f"{path} holds {key!r}, which no layer of a Keras model has.")
        parts = group.split("/")
        prefixes = ("/".join(parts[: i + 1]) for i in range(len(parts)))
        layers = [names[prefix] for prefix in prefixes if names.get(prefix)]
        arrays["/".join([*layers, index])] = _read_dataset(dataset, path)
    return arrays


def _read_dataset(dataset: h5py.Dataset, path: Path) -> np.ndarray:
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"{path}: {dataset.name} lies in another file.")
    if dataset.id.get_storage_size() < dataset.nbytes:
        raise CheckpointError(f"{path}: {dataset.name} is larger than what is stored of it.")
    array = dataset[()]
    return array.view(ml_dtypes.bfloat16) if dataset.attrs.get("dtype") == "bfloat16" else array
