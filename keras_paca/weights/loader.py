"""The strict loader: every array of a file must match a weight of the model, and vice versa."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_paca.warn import FreshWeightsWarning, warn_user


class Entry(NamedTuple):
    """The Keras variable to which one tensor of an official checkpoint belongs.

    Args:
        layer: str. Path of the layer, such as "stage1_block1/attention/query".
        variable: str. Name of the variable in that layer, such as "kernel".
        layout: str. How the official tensor is laid out, a key of `LAYOUTS` such as "linear".

    Example:
    >>> from keras_paca.weights import Entry
    >>> Entry("stage1_block1/attention/query", "kernel", "linear").path
    'stage1_block1/attention/query/kernel'
    """

    layer: str
    variable: str
    layout: str

    @property
    def path(self) -> str:
        """The path of the variable, a str."""
        return f"{self.layer}/{self.variable}"

    @property
    def parts(self) -> "tuple[Entry, ...]":
        """The entry itself, as the only part of the tensor."""
        return (self,)

    def official_shape(self, variables: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape of the official tensor.

        Args:
            variables: dict. {path: variable or array}.
        """
        return tuple(LAYOUTS[self.layout].official(tuple(variables[self.path].shape)))

    def split(
        self, tensor: np.ndarray, variables: Mapping[str, Any]
    ) -> list[tuple[str, np.ndarray]]:
        """Return the path and the value of each variable to which an official tensor belongs.

        Args:
            tensor: np.ndarray. The official tensor.
            variables: dict. {path: variable}.
        """
        shape = tuple(variables[self.path].shape)
        return [(self.path, to_keras(tensor, self.layout, shape))]

    def join(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the official tensor, the inverse of `split`.

        Args:
            arrays: dict. {path: value of the variable}.
        """
        return to_official(arrays[self.path], self.layout)


class JoinedEntry(NamedTuple):
    """The Keras variables to which one official tensor belongs, such as query, key and value.

    The official tensor is their concatenation, by default along its first axis, that of the
    outputs.

    Args:
        parts: tuple of Entry. The entry of each variable, in the order of the concatenation.
        axis: int. The axis of the concatenation.

    Example:
    >>> entry = JoinedEntry((Entry("query", "bias", "vector"), Entry("key", "bias", "vector")))
    >>> variables = {"query/bias": np.zeros(4), "key/bias": np.zeros(2)}
    >>> entry.official_shape(variables)
    (6,)
    >>> [(path, value.shape) for path, value in entry.split(np.ones(6), variables)]
    [('query/bias', (4,)), ('key/bias', (2,))]
    """

    parts: tuple[Entry, ...]
    axis: int = 0

    def official_shape(self, variables: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape of the official tensor.

        Args:
            variables: dict. {path: variable or array}.
        """
        shapes, axis = [part.official_shape(variables) for part in self.parts], self.axis
        size = sum(shape[axis] for shape in shapes)
        return (*shapes[0][:axis], size, *shapes[0][axis + 1 :])

    def split(
        self, tensor: np.ndarray, variables: Mapping[str, Any]
    ) -> list[tuple[str, np.ndarray]]:
        """Return the path and the value of each variable to which an official tensor belongs.

        Args:
            tensor: np.ndarray. The official tensor.
            variables: dict. {path: variable}.
        """
        sizes = [part.official_shape(variables)[self.axis] for part in self.parts]
        pieces = np.split(tensor, np.cumsum(sizes)[:-1], self.axis)
        pairs = zip(self.parts, pieces, strict=True)
        return [value for part, piece in pairs for value in part.split(piece, variables)]

    def join(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the official tensor, the inverse of `split`.

        Args:
            arrays: dict. {path: value of the variable}.
        """
        return np.concatenate([part.join(arrays) for part in self.parts], self.axis)


class KeyMap(dict[str, Entry | JoinedEntry]):
    """A dict from the keys of an official checkpoint to the `Entry` of each.

    Its methods add the entries of all weights of one layer.

    Example:
    >>> from keras_paca.weights import KeyMap
    >>> key_map = KeyMap()
    >>> key_map.kernel("head", "classifier", "linear")
    >>> {key: entry.path for key, entry in key_map.items()}
    {'head.weight': 'classifier/kernel', 'head.bias': 'classifier/bias'}
    """

    def norm(self, key: str, layer: str) -> None:
        """Add the weights of a layer normalization.

        Args:
            key: str. The official name of the layer, such as "patch_embed.norm".
            layer: str. Path of the Keras layer.
        """
        self[f"{key}.weight"] = Entry(layer, "gamma", "vector")
        self[f"{key}.bias"] = Entry(layer, "beta", "vector")

    def batch_norm(self, key: str, layer: str) -> None:
        """Add the weights and the moving statistics of a batch normalization.

        Args:
            key: str. The official name of the layer.
            layer: str. Path of the Keras layer.
        """
        self.norm(key, layer)
        self[f"{key}.running_mean"] = Entry(layer, "moving_mean", "vector")
        self[f"{key}.running_var"] = Entry(layer, "moving_variance", "vector")

    def conv_norm(self, conv: str, norm: str, layer: str, layout: str, bias: bool = True) -> None:
        """Add the weights of a `ConvNorm`: of a convolution and of its batch normalization.

        Args:
            conv: str. The official name of the convolution.
            norm: str. The official name of the batch normalization.
            layer: str. Path of the Keras layer.
            layout: str. The layout of the kernel, a key of `LAYOUTS`.
            bias: bool. Whether the convolution has a bias.
        """
        self.kernel(conv, f"{layer}/conv", layout, bias)
        self.batch_norm(norm, f"{layer}/norm")

    def attentive_norm(
        self, key: str, layer: str, attention: str = "attention_weights", batch: bool = True
    ) -> None:
        """Add the weights and the moving statistics of an attentive normalization.

        Args:
            key: str. The official name of the layer.
            layer: str. Path of the Keras layer.
            attention: str. The official name of its attention.
            batch: bool. Whether it is an attentive batch normalization, with a norm in its
                attention, or an attentive group normalization, with a bias there.
        """
        self[f"{key}.weight_"] = Entry(layer, "scales", "matrix")
        self[f"{key}.bias_"] = Entry(layer, "offsets", "matrix")
        start = f"{key}.{attention}.attention"
        self.kernel(f"{start}.0", f"{layer}/attention", "pointwise", bias=not batch)
        if batch:
            self[f"{key}.running_mean"] = Entry(f"{layer}/norm", "moving_mean", "vector")
            self[f"{key}.running_var"] = Entry(f"{layer}/norm", "moving_variance", "vector")
            self.batch_norm(f"{start}.1", f"{layer}/attention_norm")

    def kernel(self, key: str, layer: str, layout: str, bias: bool = True) -> None:
        """Add the weights of a convolution or a linear projection.

        Args:
            key: str. The official name of the layer.
            layer: str. Path of the Keras layer.
            layout: str. The layout of the kernel, a key of `LAYOUTS`.
            bias: bool. Whether the layer has a bias.
        """
        self[f"{key}.weight"] = Entry(layer, "kernel", layout)
        if bias:
            self[f"{key}.bias"] = Entry(layer, "bias", "vector")

    def kernels(self, key: str, layers: Sequence[str], layout: str, bias: bool = True) -> None:
        """Add the weights of several layers that the official code has as one, such as `qkv`.

        Args:
            key: str. The official name of the layer.
            layers: Sequence of str. Paths of the Keras layers, in the order of the outputs.
            layout: str. The layout of the kernels, a key of `LAYOUTS`.
            bias: bool. Whether the layers have biases.
        """
        kernels = tuple(Entry(layer, "kernel", layout) for layer in layers)
        self[f"{key}.weight"] = JoinedEntry(kernels)
        if bias:
            biases = tuple(Entry(layer, "bias", "vector") for layer in layers)
            self[f"{key}.bias"] = JoinedEntry(biases)


class Layout(NamedTuple):
    """How the layout of an official tensor differs from that of its Keras variable.

    Args:
        official: Callable. Takes the shape of the variable and returns the shape of the official
            tensor.
        axes: tuple of int. The permutation of the official axes that comes before the reshape to
            the shape of the variable.

    Example:
    >>> LAYOUTS["conv"].official((7, 7, 3, 64))
    (64, 3, 7, 7)
    """

    official: Any
    axes: tuple[int, ...]


LAYOUTS = {
    "vector": Layout(lambda s: s, (0,)),
    "linear": Layout(lambda s: (s[1], s[0]), (1, 0)),  # (out, in) -> (in, out)
    "pointwise": Layout(lambda s: (s[1], s[0], 1, 1), (2, 3, 1, 0)),  # (out, in, 1, 1) -> (in, out)
    "conv": Layout(lambda s: (s[3], s[2], s[0], s[1]), (2, 3, 1, 0)),  # -> (h, w, in, out)
    "depthwise": Layout(lambda s: (s[2], s[3], s[0], s[1]), (2, 3, 0, 1)),  # -> (h, w, c, 1)
    "matrix": Layout(lambda s: s, (0, 1)),  # a weight of two axes that lies alike in both
    "channels": Layout(lambda s: (s[0], 1, 1), (0, 1, 2)),  # (c, 1, 1) -> (c,)
    "positions": Layout(lambda s: (1, s[0] * s[1], s[2]), (0, 1, 2)),  # (1, h w, c) -> (h, w, c)
    "clusters": Layout(lambda s: (1, *s), (0, 1, 2)),  # (1, m, c) -> (m, c)
    "tokens": Layout(lambda s: (1, *s), (0, 1, 2)),  # (1, n, c) -> (n, c)
}


def to_keras(array: np.ndarray, layout: str, shape: tuple[int, ...]) -> np.ndarray:
    """Convert an official tensor to the layout of its Keras variable.

    Args:
        array: np.ndarray. The official tensor.
        layout: str. A key of `LAYOUTS`.
        shape: tuple of int. The shape of the variable.

    Returns:
        np.ndarray. The value for the variable, of that shape.

    Example:
    >>> to_keras(np.zeros((64, 3, 7, 7)), "conv", (7, 7, 3, 64)).shape
    (7, 7, 3, 64)
    """
    return np.transpose(array, LAYOUTS[layout].axes).reshape(shape)


def to_official(array: np.ndarray, layout: str) -> np.ndarray:
    """Convert the value of a Keras variable to the official layout, the inverse of `to_keras`.

    Args:
        array: np.ndarray. The value of the variable.
        layout: str. A key of `LAYOUTS`: "vector", "linear", "pointwise", "conv", "depthwise",
            "matrix", "channels", "positions", "clusters" or "tokens".

    Returns:
        np.ndarray. The official tensor.

    Example:
    >>> import numpy as np
    >>> from keras_paca.weights import to_official
    >>> to_official(np.zeros((7, 7, 3, 64)), "conv").shape
    (64, 3, 7, 7)
    """
    official, axes = LAYOUTS[layout]
    shape = official(array.shape)
    return np.transpose(array.reshape([shape[axis] for axis in axes]), np.argsort(axes))


def model_variables(model: Any) -> dict[str, Any]:
    """Return the weights of a functional model by their paths.

    Args:
        model: keras.Model. A functional or Sequential model.

    Returns:
        dict. {path: variable}. A path starts with the name of a layer of the model, not with the
        name of the model itself. The layers of its `backbone`, if it has one, belong to it even
        where its outputs don't depend on them.

    Example:
    >>> import keras
    >>> from keras_paca.weights import model_variables
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")])
    >>> list(model_variables(model))
    ['head/kernel', 'head/bias']
    """
    variables = {}
    backbone = getattr(model, "backbone", None)
    for layer in [*model.layers, *getattr(backbone, "layers", ())]:
        for variable in layer.weights:
            path = "/" + variable.path
            variables[path[path.index(f"/{layer.name}/") + 1 :]] = variable
    return variables


def load_official(
    model: Any,
    tensors: Mapping[str, np.ndarray],
    key_map: Mapping[str, Entry | JoinedEntry],
    source: str,
    unused: Collection[str] = (),
    fresh: Collection[str] = (),
) -> None:
    """Assign all tensors of an official checkpoint to a model.

    If anything doesn't match, no weight of the model is changed.

    Args:
        model: keras.Model. A functional model, built.
        tensors: Mapping of str to np.ndarray. The tensors of the checkpoint by their official
            keys.
        key_map: Mapping of str to Entry or JoinedEntry. The weights of the model by their official
            keys.
        source: str. Name of the file, for error messages.
        unused: Collection of str. Keys that the checkpoint may hold and that aren't loaded.
        fresh: Collection of str. Keys that aren't loaded because their weights keep their initial
            values.

    Raises:
        ValueError: If a key is missing or unexpected, or if an array has another shape or isn't
            floating-point.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_paca.weights import KeyMap, load_official
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")])
    >>> key_map = KeyMap()
    >>> key_map.kernel("fc", "head", "linear")
    >>> tensors = {"fc.weight": np.ones((3, 2)), "fc.bias": np.zeros(3)}
    >>> load_official(model, tensors, key_map, "example.pth")
    >>> model.predict(np.ones((1, 2)), verbose=0).tolist()
    [[2.0, 2.0, 2.0]]
    """
    variables = model_variables(model)
    _check(tensors, expected_shapes(model, key_map), source, unused, fresh)
    for key, entry in key_map.items():
        if key not in fresh:
            for path, array in entry.split(tensors[key], variables):
                variables[path].assign(_assignable(array, variables[path]))


def load_keras(
    model: Any,
    arrays: Mapping[str, np.ndarray],
    source: str,
    unused: Collection[str] = (),
    fresh: Collection[str] = (),
) -> None:
    """Assign all arrays of a saved Keras model to a model.

    If anything doesn't match, no weight of the model is changed.

    Args:
        model: keras.Model. A functional model, built.
        arrays: Mapping of str to np.ndarray. The arrays by the path of the layer and their index
            in it, such as "stage1_block1/attention/query/0", as `open_checkpoint` reads them.
        source: str. Name of the file, for error messages.
        unused: Collection of str. Keys that the file may hold and that aren't loaded.
        fresh: Collection of str. Keys that aren't loaded because their weights keep their initial
            values.

    Raises:
        ValueError: If a key is missing or unexpected, or if an array has another shape or isn't
            floating-point.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> from keras_paca.weights import load_keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")])
    >>> arrays = {"head/0": np.ones((2, 3)), "head/1": np.zeros(3)}
    >>> load_keras(model, arrays, "example.weights.h5")
    >>> model.predict(np.ones((1, 2)), verbose=0).tolist()
    [[2.0, 2.0, 2.0]]
    """
    variables = keras_keys(model)
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    _check(arrays, shapes, source, unused, fresh)
    for key, variable in variables.items():
        if key not in fresh:
            variable.assign(_assignable(arrays[key], variable))


def expected_shapes(
    model: Any, key_map: Mapping[str, Entry | JoinedEntry] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a file for a model must have.

    Args:
        model: keras.Model. A functional model.
        key_map: dict. {official key: where it belongs}, for an official file. By default, the keys
            and shapes are those of a saved Keras model.

    Example:
    >>> import keras
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")])
    >>> expected_shapes(model)
    {'dense/0': (4, 2), 'dense/1': (2,)}
    """
    if key_map is None:
        return {key: tuple(variable.shape) for key, variable in keras_keys(model).items()}
    variables = model_variables(model)
    return {key: entry.official_shape(variables) for key, entry in key_map.items()}


def keras_keys(model: Any) -> dict[str, Any]:
    """Return the weights of a model by the keys under which `read_keras_file` reads them.

    Args:
        model: keras.Model. A functional or Sequential model.

    Returns:
        dict. {key: variable}. A key is the path of the layer and the index of the variable in it.

    Example:
    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="head")])
    >>> list(keras_keys(model))
    ['head/0', 'head/1']
    """
    counts: dict[str, int] = {}
    variables = {}
    for path, variable in model_variables(model).items():
        layer = path.rpartition("/")[0]
        variables[f"{layer}/{counts.setdefault(layer, 0)}"] = variable
        counts[layer] += 1
    return variables


def warn_fresh(source: str, what: str, why: str) -> None:
    """Issue a `FreshWeightsWarning`: the file has no values for a part of the model.

    Args:
        source: str. Name of the file.
        what: str. The part of the model, in the singular.
        why: str. The reason, without a full stop.

    Example:
    >>> import warnings
    >>> from keras_paca.weights import warn_fresh
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_fresh("model.pth", "the head", "made for 1000 classes, not 10")
    >>> print(caught[0].message)
    model.pth: made for 1000 classes, not 10; the head keeps its initial values.
    """
    warn_user(f"{source}: {why}; {what} keeps its initial values.", FreshWeightsWarning)


def _check(
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[int, ...]],
    source: str,
    unused: Collection[str],
    fresh: Collection[str],
) -> None:
    """Raise unless `found` and `expected` match, apart from the keys `unused` and `fresh`."""
    missing = [key for key in expected if key not in found and key not in fresh]
    unexpected = [key for key in found if key not in expected and key not in unused]
    shapes = [
        f"{key}: {tuple(found[key].shape)} where the model has {shape}"
        for key, shape in expected.items()
        if key in found and key not in fresh and tuple(found[key].shape) != tuple(shape)
    ]
    types = [
        f"{key}: {found[key].dtype}"
        for key in expected
        if key in found and key not in fresh and not _is_float(found[key])
    ]
    faults = {
        "missing in the file": missing,
        "in the file, unknown to the model": unexpected,
        "of another shape": shapes,
        "not floating-point": types,
    }
    lines = [
        f"{len(keys)} {what}: {'; '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for what, keys in faults.items()
        if keys
    ]
    if lines:
        raise ValueError(f"{source} does not fit this model. " + ". ".join(lines))


def _is_float(array: np.ndarray) -> bool:
    # bfloat16 and float8 are no subtypes of numpy's floats
    return array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float8"))


def _assignable(array: np.ndarray, variable: Any) -> np.ndarray:
    return np.asarray(array, dtype="float64" if variable.dtype == "float64" else "float32")
