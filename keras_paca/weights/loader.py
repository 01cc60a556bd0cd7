"""Strict loading: every array of a file and every weight of a model is matched, or named."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_paca.warn import warn_user


class Entry(NamedTuple):
    """Where one tensor of an official checkpoint belongs.

    Attributes:
        layer: path of the layer, such as "stage1_block1/attention/query".
        variable: name of the variable, such as "kernel".
        layout: key of `LAYOUTS`.
    """

    layer: str
    variable: str
    layout: str

    @property
    def path(self) -> str:
        """Path of the variable."""
        return f"{self.layer}/{self.variable}"


class KeyMap(dict[str, Entry]):
    """Where each tensor of an official checkpoint belongs: {official key: entry}."""

    def norm(self, key: str, layer: str) -> None:
        """Add a layer norm."""
        self[f"{key}.weight"] = Entry(layer, "gamma", "vector")
        self[f"{key}.bias"] = Entry(layer, "beta", "vector")

    def batch_norm(self, key: str, layer: str) -> None:
        """Add a batch norm."""
        self.norm(key, layer)
        self[f"{key}.running_mean"] = Entry(layer, "moving_mean", "vector")
        self[f"{key}.running_var"] = Entry(layer, "moving_variance", "vector")

    def kernel(self, key: str, layer: str, layout: str, bias: bool = True) -> None:
        """Add a convolution or linear projection, `layout` a key of `LAYOUTS`."""
        self[f"{key}.weight"] = Entry(layer, "kernel", layout)
        if bias:
            self[f"{key}.bias"] = Entry(layer, "bias", "vector")


class Layout(NamedTuple):
    """How an official tensor is laid out beside the Keras variable that it becomes.

    Attributes:
        official: from the variable's shape to the official one.
        axes: permutation of the official axes, before a reshape to the variable's shape.
    """

    official: Any
    axes: tuple[int, ...]


LAYOUTS = {
    "vector": Layout(lambda s: s, (0,)),
    "linear": Layout(lambda s: (s[1], s[0]), (1, 0)),  # (out, in) -> (in, out)
    "pointwise": Layout(lambda s: (s[1], s[0], 1, 1), (2, 3, 1, 0)),  # (out, in, 1, 1) -> (in, out)
    "conv": Layout(lambda s: (s[3], s[2], s[0], s[1]), (2, 3, 1, 0)),  # -> (h, w, in, out)
    "depthwise": Layout(lambda s: (s[2], s[3], s[0], s[1]), (2, 3, 0, 1)),  # -> (h, w, c, 1)
    "positions": Layout(lambda s: (1, s[0] * s[1], s[2]), (0, 1, 2)),  # (1, h w, c) -> (h, w, c)
    "clusters": Layout(lambda s: (1, *s), (0, 1, 2)),  # (1, m, c) -> (m, c)
}


def to_keras(array: np.ndarray, layout: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an official tensor as the Keras variable of `shape`."""
    return np.transpose(array, LAYOUTS[layout].axes).reshape(shape)


def to_official(array: np.ndarray, layout: str) -> np.ndarray:
    """Return a Keras variable as the official tensor, the inverse of `to_keras`."""
    official, axes = LAYOUTS[layout]
    shape = official(array.shape)
    return np.transpose(array.reshape([shape[axis] for axis in axes]), np.argsort(axes))


def model_variables(model: Any) -> dict[str, Any]:
    """Return a functional model's weights by path, from the top-level layer's name on."""
    variables = {}
    for layer in model.layers:
        for variable in layer.weights:
            path = "/" + variable.path
            variables[path[path.index(f"/{layer.name}/") + 1 :]] = variable
    return variables


def load_official(
    model: Any,
    tensors: Mapping[str, np.ndarray],
    key_map: Mapping[str, Entry],
    source: str,
    unused: Collection[str] = (),
    fresh: Collection[str] = (),
) -> None:
    """Assign an official checkpoint to a model, all of it or, on any mismatch, nothing.

    Args:
        model: functional model.
        tensors: the checkpoint, {official key: array}.
        key_map: {official key: where it belongs}, one entry per weight of the model.
        source: name of the file, for messages.
        unused: keys of the checkpoint that are left aside for a reason.
        fresh: keys whose weights keep their initial values for a reason.

    Raises:
        ValueError: if a key is missing, unexpected, of another shape or not floating-point.
    """
    variables = model_variables(model)
    expected = {
        key: (variables[entry.path], LAYOUTS[entry.layout].official(variables[entry.path].shape))
        for key, entry in key_map.items()
    }
    _check(tensors, {key: shape for key, (_, shape) in expected.items()}, source, unused, fresh)
    for key, (variable, _) in expected.items():
        if key not in fresh:
            array = to_keras(tensors[key], key_map[key].layout, variable.shape)
            variable.assign(_assignable(array, variable))


def load_keras(
    model: Any,
    arrays: Mapping[str, np.ndarray],
    source: str,
    unused: Collection[str] = (),
    fresh: Collection[str] = (),
) -> None:
    """Assign the arrays of a saved Keras model, all of them or, on any mismatch, nothing.

    Args:
        model: functional model.
        arrays: {"layer path/index in the layer": array}, from `read_keras_file`.
        source: name of the file, for messages.
        unused: keys of the file that are left aside for a reason.
        fresh: keys whose weights keep their initial values for a reason.

    Raises:
        ValueError: if a key is missing, unexpected, of another shape or not floating-point.
    """
    variables = keras_keys(model)
    shapes = {key: tuple(variable.shape) for key, variable in variables.items()}
    _check(arrays, shapes, source, unused, fresh)
    for key, variable in variables.items():
        if key not in fresh:
            variable.assign(_assignable(arrays[key], variable))


def expected_shapes(
    model: Any, key_map: Mapping[str, Entry] | None = None
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
    return {
        key: tuple(LAYOUTS[entry.layout].official(variables[entry.path].shape))
        for key, entry in key_map.items()
    }


def keras_keys(model: Any) -> dict[str, Any]:
    """Return a model's weights by the keys that `read_keras_file` gives to saved ones."""
    counts: dict[str, int] = {}
    variables = {}
    for path, variable in model_variables(model).items():
        layer = path.rpartition("/")[0]
        variables[f"{layer}/{counts.setdefault(layer, 0)}"] = variable
        counts[layer] += 1
    return variables


def warn_fresh(source: str, what: str, why: str) -> None:
    """Warn that some weights of a model don't come from the file."""
    warn_user(f"{source}: {why}; {what} keeps its initial values.")


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
