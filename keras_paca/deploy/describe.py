"""What a model says about itself: its classes, transform, task and kind of input.

All of it is read from the model's configuration, so that a saved model needn't be built.
"""

import json
from collections.abc import Iterator
from typing import Any

import keras

from keras_paca._version import __version__

RGB, NORMALISED = "RGB 0..255", "normalised"
PACKAGE = "keras_paca>"  # before the registered name of every class of this library
# Layers and operations that leave the classes on the last axis where they are.
LAYERS_THAT_KEEP_CLASSES = (
    "Activation",
    "Divide",
    "Dropout",
    "Identity",
    "LogSoftmax",
    "Multiply",
    "Rescaling",
    "Resize",
    "Resizing",
    "Sigmoid",
    "Softmax",
    "TrueDivide",
    "UpSampling2D",
)
# Layers that leave RGB in 0..255 in that range, besides Keras's random layers, which do nothing in
# inference.
LAYERS_THAT_KEEP_RANGE = ("CenterCrop", "EvaluationTransform", "Identity", "Resizing")


def describe(model: keras.Model) -> dict[str, Any]:
    """Return what a model says about itself.

    Args:
        model: keras.Model. A `PaCaViT`, a `Segmenter`, a `MaskRCNN`, a model around one of them,
            or any other, of which less is known.

    Returns:
        dict. "class_names" (list of str or `None`), "evaluation_transform" (dict or `None`),
        "task" ("classification", "segmentation", "detection", "features" or `None`), "input"
        ("RGB 0..255", "normalised" or `None`), "num_classes" (int or `None`) and
        "keras_paca_version"; for a segmenter also "ignore_class", for a detector
        "bounding_box_format".

    Raises:
        ValueError: If the model's `class_names` aren't one string for each class, or its
            `evaluation_transform` can't be written as JSON.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2, class_names=["ant", "bee"])
    >>> found = describe(model)
    >>> found["task"], found["class_names"], found["input"]
    ('classification', ['ant', 'bee'], 'RGB 0..255')
    """
    found = describe_config(_serialized(model))
    found = {**_nothing(), **found, "keras_paca_version": __version__}
    for key in ("class_names", "evaluation_transform"):
        if getattr(model, key, None) is not None:
            found[key] = getattr(model, key)
    if found["task"] == "features":
        found["class_names"] = None
    if found["class_names"] is not None:
        found["class_names"] = _names(found["class_names"], found["num_classes"], model)
    try:
        return json.loads(json.dumps(found))
    except TypeError as error:
        raise ValueError(
            "`evaluation_transform` must hold numbers, strings and lists alone. "
            f"Received: {found['evaluation_transform']!r:.200}"
        ) from error


def input_kind(model: keras.Model) -> str | None:
    """Return what kind of images a model takes.

    Args:
        model: keras.Model. The model.

    Returns:
        str. `RGB` for RGB in 0..255, `NORMALISED` for images that are already normalised, or
        `None` where the model doesn't say.

    Example:
    >>> import keras_paca
    >>> input_kind(keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_preprocessing=False))
    'normalised'
    """
    return _input_of(_serialized(model))


def _nothing() -> dict[str, Any]:
    keys = ("class_names", "evaluation_transform", "task", "input", "num_classes")
    return dict.fromkeys(keys)


def _serialized(model: keras.Model) -> dict:
    """Return a model's configuration; nothing where a layer of the user's own has none."""
    try:
        return keras.saving.serialize_keras_object(model)
    except Exception:  # of every kind: it is the user's `get_config` that fails
        return {}


def _names(names: Any, count: int | None, model: keras.Model) -> list[str]:
    """Return class names as a list, one for each class."""
    names = names.tolist() if hasattr(names, "tolist") else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`class_names` must be a list of strings. Received: {names!r:.200}")
    output = model.outputs[0].shape[-1] if len(model.outputs) == 1 else None
    expected = count or output
    if expected is not None and len(names) != expected:
        raise ValueError(
            f"`class_names` must have one name for each of the {expected} classes. "
            f"Received: {len(names)} names"
        )
    return list(names)


# --- Configurations ---------------------------------------------------------------------------


def describe_config(model: dict) -> dict[str, Any]:
    """Return what a serialized model says about itself.

    Args:
        model: dict. What `keras.saving.serialize_keras_object` returns for a model, or
            "config.json" in a ".keras" file.

    Returns:
        dict. As for `describe`, without the version. It is empty where the model's outputs don't
        come from one model of this library.

    Example:
    >>> import keras_paca
    >>> model = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, classes=2)
    >>> found = describe_config(keras.saving.serialize_keras_object(model))
    >>> found["task"], found["num_classes"], found["input"]
    ('classification', 2, 'RGB 0..255')
    """
    ours = _answering(model)
    if ours is None:
        return {}
    config = ours["config"]
    found = {
        "class_names": config.get("class_names"),
        "evaluation_transform": config.get("evaluation_transform"),
        "task": _task(config),
        "input": _input_of(model),
        "num_classes": config.get("num_classes"),
    }
    if found["task"] == "classification":
        found["num_classes"] = config.get("classes", found["num_classes"])
    for key in ("ignore_class", "bounding_box_format"):
        if key in config:
            found[key] = config[key]
    return found


def _task(config: dict) -> str:
    """Return the task of a model of this library."""
    if "bounding_box_format" in config:
        return "detection"
    if "ignore_class" in config:
        return "segmentation"
    classifies = config.get("include_top") or "num_classes" in config
    return "classification" if classifies else "features"


def _is_ours(layer: dict) -> bool:
    """Return whether a serialized layer is a model of this library."""
    ours = str(layer.get("registered_name")).startswith(PACKAGE)
    return ours and not {"include_preprocessing", "image_shape", "backbone"}.isdisjoint(
        layer["config"]
    )


def _layers(model: dict) -> dict[str, dict]:
    """Return the layers of a functional or Sequential model by name, in order."""
    layers = (model.get("config") or {}).get("layers") or []
    return {layer.get("name") or layer["config"]["name"]: layer for layer in layers}


def _answering(model: dict) -> dict | None:
    """Return the model of this library, that model or one inside it, that makes its outputs."""
    if _is_ours(model):
        return model
    layers = _layers(model)
    if model.get("class_name") == "Sequential":
        ends = list(layers)[-1:]
    else:
        ends = _producers((model.get("config") or {}).get("output_layers"))
    found = {id(ours): ours for end in ends if (ours := _behind(end, layers)) is not None}
    return next(iter(found.values())) if len(found) == 1 else None


def _behind(name: str, layers: dict[str, dict]) -> dict | None:
    """Return the model of this library whose output a layer passes on, class by class."""
    layer = layers.get(name, {})
    if _is_ours(layer) or _layers(layer):
        return _answering(layer)
    before = _inputs(name, layers)
    if layer.get("class_name") not in LAYERS_THAT_KEEP_CLASSES or len(before) != 1:
        return None
    return _behind(before[0], layers)


def _input_of(model: dict) -> str | None:
    """Return the kind of images that a serialized model takes; `None` if its layers disagree."""
    config = model.get("config") or {}
    if _is_ours(model):
        if "include_preprocessing" in config:
            return RGB if config["include_preprocessing"] else NORMALISED
        return _input_of(config["backbone"]) if "backbone" in config else NORMALISED
    layers = _layers(model)
    starts = [name for name, layer in layers.items() if layer["class_name"] == "InputLayer"]
    if not starts and model.get("class_name") == "Sequential":
        starts = [None]
    kinds = {kind for start in starts for kind in _readers(start, layers)}
    return kinds.pop() if len(kinds) == 1 else None


def _readers(name: str | None, layers: dict[str, dict]) -> Iterator[str | None]:
    """Yield the kind of images that each layer takes which reads the output of layer `name`."""
    for other, layer in layers.items():
        if name not in _inputs(other, layers):
            continue
        kind = layer["class_name"]
        if _is_ours(layer) or _layers(layer):
            yield _input_of(layer)
        elif kind in LAYERS_THAT_KEEP_RANGE or kind.startswith("Random"):
            yield from _readers(other, layers)
        else:
            yield None


def _inputs(name: str, layers: dict[str, dict]) -> list[str | None]:
    """Return the names of the layers whose outputs a layer reads."""
    if "inbound_nodes" in layers.get(name, {}):
        return _producers(layers[name]["inbound_nodes"])
    order = [None, *layers]  # of a Sequential model
    return order[order.index(name) - 1 :][:1] if name in layers else []


def _producers(node: Any) -> list[str]:
    """Return the names in a configuration's references to tensors: [name, node, tensor]."""
    if isinstance(node, dict):
        if "keras_history" in node:
            return [node["keras_history"][0]]
        node = list(node.values())
    if not isinstance(node, (list, tuple)):
        return []
    if len(node) == 3 and isinstance(node[0], str) and isinstance(node[1], int):
        return [node[0]]
    return list(dict.fromkeys(name for each in node for name in _producers(each)))
