"""Saving in a configuration which layers inside a layer or a model are frozen.

Keras saves `trainable` only for the layers in the graph of a functional model, not for the layers
inside them. Without this module, a frozen projection inside a block would be trained again after
the model is loaded.
"""

from collections.abc import Iterator, Sequence

import keras


def layers_inside(owner: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return all layers inside a layer or a model that have weights, at any depth.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model.

    Returns:
        dict. {path: layer}, with each layer once. A path consists of the names of the layers from
        the outermost to the innermost, such as "stage1_block1/attention/query".

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> list(layers_inside(model))
    ['first']
    """
    return dict(paths_inside(owner))


def paths_inside(owner: keras.layers.Layer) -> list[tuple[str, keras.layers.Layer]]:
    """Return the path and the layer of all layers inside that have weights, at any depth.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model.

    Returns:
        list of (str, keras.layers.Layer). Each layer once. Two layers of one name in the same layer
        have the same path.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> [path for path, layer in paths_inside(model)]
    ['first']
    """
    return [(path, layer) for path, layer, _ in _walk(owner, "", set())]


def copy_trainable_state(target: keras.layers.Layer, source: keras.layers.Layer) -> None:
    """Make `trainable` of a copy and of all layers inside it that of the original.

    The layers inside are matched by their order, because automatic names differ in a copy.

    Args:
        target: keras.layers.Layer or keras.Model. The copy, built. Layers may be of other classes
            than in the original, and hold more layers.
        source: keras.layers.Layer or keras.Model. The original, built.

    Example:
    >>> source, target = (
    ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]) for _ in range(2)
    ... )
    >>> source.layers[0].trainable = False
    >>> copy_trainable_state(target, source)
    >>> target.trainable, target.layers[0].trainable
    (True, False)
    """
    set_trainable(target, source.trainable)
    for part, original in zip(parts_of(target), parts_of(source), strict=False):
        copy_trainable_state(part, original)


def parts_of(owner: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers directly inside a layer or a model that have weights.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model.

    Returns:
        list of keras.layers.Layer. The same order in a copy.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> [layer.name for layer in parts_of(model)]
    ['first']
    """
    inside = owner._flatten_layers(include_self=False, recursive=False)
    return [layer for layer in inside if layer.weights]


def set_trainable(owner: keras.layers.Layer, trainable: bool) -> None:
    """Set `trainable` of a layer or a model and of all layers inside it.

    On TensorFlow, a plain assignment does nothing if the value is the same as before, even if inner
    layers or new variables differ. This function sets them in any case.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model.
        trainable: bool. Whether the layers are trained.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    >>> set_trainable(model, False)
    >>> model.layers[0].trainable
    False
    """
    for layer in owner._flatten_layers():
        layer.trainable = not trainable
        layer.trainable = trainable


def trainable_state(owner: keras.layers.Layer) -> dict[str, list[str]]:
    """Return the inner layers whose `trainable` differs from that of the layer around them.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model.

    Returns:
        dict. "frozen" holds the paths of frozen layers inside trainable ones, "thawed" the paths
        of trainable layers inside frozen ones.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> model.layers[0].trainable = False
    >>> trainable_state(model)
    {'frozen': ['first'], 'thawed': []}
    """
    state: dict[str, list[str]] = {"frozen": [], "thawed": []}
    for path, layer, around in _walk(owner, "", set()):
        if layer.trainable != around.trainable:
            state["thawed" if layer.trainable else "frozen"].append(path)
    return state


def restore_trainable_state(
    owner: keras.layers.Layer,
    frozen: Sequence[str],
    thawed: Sequence[str],
    must_exist: bool = True,
) -> None:
    """Set `trainable` of the inner layers to the state that `trainable_state` returned.

    Args:
        owner: keras.layers.Layer or keras.Model. The layer or model, which is built.
        frozen: Sequence of str. Paths of the layers to freeze.
        thawed: Sequence of str. Paths of trainable layers inside frozen ones.
        must_exist: bool. Whether to raise an error if there is no layer at a path.

    Raises:
        ValueError: If there is no layer at a path and `must_exist` is true.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> restore_trainable_state(model, frozen=["first"], thawed=[])
    >>> model.layers[0].trainable
    False
    """
    if not frozen and not thawed:
        return
    layers = layers_inside(owner)
    wanted = [(path, False) for path in frozen] + [(path, True) for path in thawed]
    for path, trainable in sorted(wanted, key=lambda each: each[0].count("/")):
        if path in layers:
            set_trainable(layers[path], trainable)
        elif must_exist:
            raise ValueError(
                "`frozen` and `thawed` must hold paths of layers, such as "
                f"{next(iter(layers), 'stem')!r}. Received: {path!r}"
            )


def _walk(
    owner: keras.layers.Layer, start: str, seen: set[int]
) -> Iterator[tuple[str, keras.layers.Layer, keras.layers.Layer]]:
    """Yield (path, layer, the layer around it), outer layers before inner ones."""
    # Models come first, because their layers may also be in the graph of the model around them.
    for layer in sorted(parts_of(owner), key=lambda each: not isinstance(each, keras.Model)):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = start + layer.name
        yield path, layer, owner
        yield from _walk(layer, f"{path}/", seen)
