"""Reading and checking data in the forms that Keras's methods accept."""

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
    """Return the images among a model's inputs, which may be in a dict or a list.

    Args:
        inputs: Tensor, dict or list. The images, or a dict or a list with them.
        name: str. Name of the model's input.

    Returns:
        Tensor. The images.

    Raises:
        ValueError: If there are several tensors and none has that name.

    Example:
    >>> only_image({"images": 1, "ids": 2}, "images")
    1
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
    """Return whether data are a stream of batches, such as a data set, and not arrays.

    Args:
        x: Any. The data.

    Example:
    >>> is_stream(np.zeros((2, 4))), is_stream(iter([np.zeros((2, 4))]))
    (False, True)
    """
    if x is None or isinstance(x, Mapping | list | tuple) or hasattr(x, "__array__"):
        return False
    return not hasattr(x, "shape")


def look_at(data: Any, look: Callable[[Any], bool], most: int = 8) -> Any:
    """Call a function with the first batches of data, and return data that still yield them.

    Args:
        data: Iterable. A PyDataset, tf.data.Dataset, DataLoader, generator or another iterable of
            batches.
        look: Callable. It takes a batch and returns whether it has seen enough.
        most: int. Maximum number of batches.

    Returns:
        Iterable. The data; a generator is replaced by one that yields all batches. The function
        isn't called for other data whose batches can be read only once.

    Example:
    >>> list(look_at((number for number in range(3)), lambda batch: True))
    [0, 1, 2]
    """
    if isinstance(data, keras.utils.PyDataset):
        count = most if data.num_batches is None else min(most, data.num_batches)
        batches = (data[index] for index in range(count))
    elif isinstance(data, types.GeneratorType):
        batches = data
    elif isinstance(data, Iterator) or not isinstance(data, Iterable) or _is_distributed(data):
        return data
    elif hasattr(data, "dataset") and not hasattr(data.dataset, "__len__"):
        return data  # a DataLoader of a data set that can be read only once
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
    """Return the item of a list, tuple or dict with one item, and other values unchanged.

    Args:
        value: Any. Losses or targets, for example, which Keras accepts in such forms.

    Example:
    >>> only(["mse"]), only("mse")
    ('mse', 'mse')
    """
    if isinstance(value, Mapping | list | tuple) and len(value) == 1:
        return next(iter(value.values() if isinstance(value, Mapping) else value))
    return value


def is_sparse(loss: Any) -> bool:
    """Return whether a loss takes class indices, as `SparseCategoricalCrossentropy` does.

    Args:
        loss: Any. The argument `loss` of `compile`.

    Example:
    >>> is_sparse("sparse_categorical_crossentropy"), is_sparse("mse")
    (True, False)
    """
    loss = only(loss)
    loss = loss.func if isinstance(loss, functools.partial) else loss
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return True
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name.lower().startswith("sparse")


def has_rank(tensor: Any) -> bool:
    """Return whether a tensor's number of axes is known.

    In a step that TensorFlow compiled for several numbers of axes, it isn't.

    Args:
        tensor: Tensor. The tensor.

    Example:
    >>> has_rank(keras.ops.zeros((2, 3)))
    True
    """
    return getattr(tensor.shape, "rank", 0) is not None


def refuse_wrong_labels(labels: Any, count: int, ignored: int | None = None) -> None:
    """Raise an error if labels aren't indices of classes.

    Args:
        labels: array or None. Labels of any shape.
        count: int. Number of classes.
        ignored: int. Another label that is allowed, or `None`.

    Raises:
        ValueError: If there are other labels.

    Example:
    >>> refuse_wrong_labels(np.array([0, 1, 2]), 3)
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
