"""Data as Keras's methods take them: what is in them, and whether it fits a model."""

import functools
import itertools
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import as_numpy


def only_image(inputs: Any, name: str) -> Any:
    """Return the images among a model's inputs, given as they are or in a dict or list.

    Args:
        inputs: Tensor, or dict or list of one.
        name: str. The name of the model's input.

    Raises:
        ValueError: If there are several tensors, of which none has that name.
    """
    if isinstance(inputs, Mapping) and name in inputs:
        return inputs[name]
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if not isinstance(tensors, list | tuple):
        return inputs
    if len(tensors) != 1:
        received = list(inputs) if isinstance(inputs, Mapping) else f"{len(tensors)} tensors"
        raise ValueError(f"Expected images alone, or under the name {name!r}. Received: {received}")
    return tensors[0]


def is_stream(x: Any) -> bool:
    """Return whether data come in batches, such as a data set's, and not as arrays."""
    if x is None or isinstance(x, Mapping | list | tuple) or hasattr(x, "__array__"):
        return False
    return not hasattr(x, "shape")


def look_at(data: Any, look: Callable[[Any], bool], most: int = 8) -> Any:
    """Show the first batches of data to a function, and return the data to go on with.

    Args:
        data: PyDataset, tf.data.Dataset, DataLoader, generator or another iterable of batches.
        look: Callable. Called with a batch; returns whether it has seen enough.
        most: int. The number of batches after which it isn't called any more.

    Returns:
        The data. A generator is replaced by one that begins with those batches again. Data of which
        a batch can be taken only once aren't looked at.
    """
    if isinstance(data, keras.utils.PyDataset):
        count = most if data.num_batches is None else min(most, data.num_batches)
        batches = (data[index] for index in range(count))
    elif isinstance(data, types.GeneratorType):
        batches = data
    elif isinstance(data, Iterator) or not isinstance(data, Iterable) or _is_distributed(data):
        return data
    elif hasattr(data, "dataset") and not hasattr(data.dataset, "__len__"):
        return data  # a DataLoader of a stream
    else:
        batches = iter(data)
    seen = []
    for batch in itertools.islice(batches, most):
        seen.append(batch)
        if look(batch):
            break
    return _generate(itertools.chain(seen, data)) if batches is data else data


def _generate(batches: Iterable) -> Iterator:
    yield from batches


def _is_distributed(data: Any) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(data, tensorflow.distribute.DistributedDataset)


def only(value: Any) -> Any:
    """Return what is in a list, tuple or dict of one, as Keras takes losses and targets."""
    if isinstance(value, Mapping | list | tuple) and len(value) == 1:
        return next(iter(value.values() if isinstance(value, Mapping) else value))
    return value


def is_sparse(loss: Any) -> bool:
    """Return whether a loss takes class indices, as `SparseCategoricalCrossentropy` does."""
    loss = only(loss)
    loss = loss.func if isinstance(loss, functools.partial) else loss
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return True
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower().startswith("sparse")


def has_rank(tensor: Any) -> bool:
    """Return whether a tensor's number of axes is known.

    TensorFlow gives it up in a compiled step that has seen several.
    """
    return getattr(tensor.shape, "rank", 0) is not None


def refuse_wrong_labels(labels: Any, count: int, ignored: int | None = None) -> None:
    """Raise where labels aren't indices of classes.

    Args:
        labels: Array of any shape, or `None`.
        count: int. The number of classes.
        ignored: int. A label that is allowed beside them.

    Raises:
        ValueError: If there are others.
    """
    labels = only(labels)
    if labels is None or isinstance(labels, Mapping | list | tuple):
        return
    found = np.unique(as_numpy(labels))
    if found.dtype.kind not in "iufb":
        wrong, hint = found[:5].tolist(), ""
    else:
        known = (found == np.floor(found)) & (found >= 0) & (found < count)
        unknown = found[~(known if ignored is None else known | (found == ignored))]
        wrong, hint = unknown[:5].tolist(), ""
        if wrong == [count] and found.min() > 0:
            hint = " They seem to count from 1: subtract 1."
    if wrong:
        raise ValueError(
            f"Labels must be integers from 0 to {count - 1}. Received: labels with {wrong}.{hint}"
        )
