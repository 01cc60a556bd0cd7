"""Which layers inside a layer or a model don't train, as a configuration can hold it.

Keras saves `trainable` of the layers that a functional graph names, and of no layer inside these:
a frozen projection inside a block trains again when the model is loaded.
"""

from collections.abc import Iterator, Sequence

import keras


def layers_inside(owner: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return the layers inside a layer or a model that have weights, at any depth.

    Args:
        owner: Layer or model.

    Returns:
        dict. {path: layer}, each layer once. A path joins the names of the layers on the way, such
        as "stage1_block1/attention/query".

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    >>> list(layers_inside(model))
    ['first']
    """
    return {path: layer for path, layer, _ in _walk(owner, "", set())}


def set_trainable(owner: keras.layers.Layer, trainable: bool) -> None:
    """Set `trainable` of a layer or a model, and of all that is inside.

    Keras's own assignment does nothing on TensorFlow where the value is the old one, and then
    misses what is inside and variables made since.

    Args:
        owner: Layer or model.
        trainable: bool. Whether it trains.
    """
    for layer in owner._flatten_layers():
        layer.trainable = not trainable
        layer.trainable = trainable


def trainable_state(owner: keras.layers.Layer) -> dict[str, list[str]]:
    """Return which layers inside train or don't, where that differs from what is around them.

    Args:
        owner: Layer or model.

    Returns:
        dict. {"frozen": paths of layers that don't train inside something that does, "thawed":
        paths of layers that train inside something that doesn't}.
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
    """Set `trainable` of the layers inside as `trainable_state` found it.

    Args:
        owner: Layer or model, built.
        frozen: Sequence of str. Paths of layers that don't train.
        thawed: Sequence of str. Paths of layers that train inside frozen ones.
        must_exist: bool. Whether a path without a layer is an error.

    Raises:
        ValueError: If there is no layer at a path.
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
    """Yield (path, layer, what is around it), the outer layers before the inner ones."""
    inside = owner._flatten_layers(include_self=False, recursive=False)
    # A model's layers may lie beside it, in the graph of the model around both.
    for layer in sorted(inside, key=lambda each: not isinstance(each, keras.Model)):
        if id(layer) in seen or not layer.weights:
            continue
        seen.add(id(layer))
        path = start + layer.name
        yield path, layer, owner
        yield from _walk(layer, f"{path}/", seen)
