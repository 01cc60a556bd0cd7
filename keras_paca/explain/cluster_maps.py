"""The cluster assignments of a model as maps, which show what each cluster looks at."""

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import check_positive, refuse_16_bits

# Attributes in which detectors and segmenters hold a backbone, ours and those of other libraries.
# Before Keras 3.15 the layers of a functional model are only those of its graph.
HELD_AS = ("backbone", "image_encoder")
_PARTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def cluster_maps(
    model: keras.Model,
    images: Any,
    block: int | Mapping[str, int] = -1,
    batch_size: int = 8,
) -> dict[str, np.ndarray]:
    """Return the cluster assignments of a model for images.

    `maps["P2"][i, y, x, m]` is the weight with which the patch at (y, x) of image i contributes to
    cluster m of that stage. The model that computes the maps is compiled once and kept as long as
    the model itself.

    Args:
        model: keras.Model. A `PaCaViT`; a `Segmenter`, a `MaskRCNN` or another detector with a
            `PaCaViT` as its backbone; or a functional or Sequential model that calls a `PaCaViT`.
            Layers before the `PaCaViT` are applied to the images.
        images: array, Tensor, dict or list. An array or a tensor of shape (batch, height, width,
            channels), as for `model.predict`; or a dict or a list with one of them. The
            preprocessor of a KerasHub model is applied, as in its `predict`.
        block: int or dict. The index of the block in each stage whose assignment is returned; by
            default the last one that each stage computes. A dict such as {"P4": 2} also selects
            the levels.
        batch_size: int. Number of images that are processed at a time.

    Returns:
        dict. {level: map}, one entry for each stage that has clusters. A map is a float32 array
        (batch, height, width, clusters), which sums to 1 over height and width. Its sides are a
        quarter of those of the image at level "P2", an eighth at "P3" and so on, rounded up.

    Raises:
        ValueError: If the model contains no `PaCaViT`, or no stage has clusters, as in `RapidNet`,
            `ViTTM`, `CastlingViT` and a `PaCaViT` with `attention="castling"`, or a stage has no
            such block; if the images don't have four axes or don't fit the model; or if they are
            integers above 255.

    Example:
    >>> import numpy as np
    >>> from keras_paca import PaCaViT, cluster_maps
    >>> model = PaCaViT((8, 8, 8, 8), depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), clusters=4)
    >>> maps = cluster_maps(model, np.zeros((1, 32, 48, 3)), block={"P2": 0})
    >>> {level: values.shape for level, values in maps.items()}
    {'P2': (1, 8, 12, 4)}
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a keras.Model; load a file with keras.saving.load_model(path) first. "
            f"Received: model={model!r}"
        )
    images = image_array(images)
    refuse_16_bits(images)
    check_positive("batch_size", batch_size)
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *images.shape[1:]))
    preprocessor = getattr(model, "preprocessor", None)  # of a KerasHub task, as in its `predict`
    if preprocessor is None:
        check_fit(images, model)
    steps, backbone = _way(model)
    outputs = _pick(backbone, block)
    assignments = _assignment_model(backbone)
    batches: dict[str, list[np.ndarray]] = {level: [] for level in outputs}
    for start in range(0, len(images), batch_size):
        x = images[start : start + batch_size]
        if preprocessor is not None:
            x = keras.ops.convert_to_numpy(preprocessor(x))
        for step in steps:
            x = step.predict_on_batch(x.astype(step.inputs[0].dtype))
        found = assignments.predict_on_batch(x.astype(assignments.inputs[0].dtype))
        height, width = x.shape[1:3]
        for level, name in outputs.items():
            stride = 2 ** int(level[1:])
            grid = (-(-height // stride), -(-width // stride))
            assignment = np.asarray(found[name], dtype="float32")  # (b, h w, m)
            batches[level].append(assignment.reshape(len(x), *grid, -1))
    return {level: np.concatenate(parts) for level, parts in batches.items()}


# --- Images and blocks ------------------------------------------------------------------------


def image_array(images: Any) -> np.ndarray:
    """Convert images, in any form that `keras.Model.predict` accepts, to an array.

    Args:
        images: array, Tensor, list or dict. Images (batch, height, width, channels), a list of
            images (height, width, channels), or a list or a dict with one such array.

    Returns:
        np.ndarray. (batch, height, width, channels).

    Raises:
        ValueError: If the images have another shape, or aren't numbers.

    Example:
    >>> image_array([np.zeros((32, 48, 3)), np.zeros((32, 48, 3))]).shape
    (2, 32, 48, 3)
    """
    entries = keras.tree.flatten(images)
    if len(entries) == 1 and getattr(entries[0], "ndim", 0) == 4:
        images = entries[0]
    plain = images is None or isinstance(images, (str, Path))
    received, array = f"{images!r:.100}" if plain else f"a {type(images).__name__}", None
    if hasattr(images, "__array__") or isinstance(images, (list, tuple)):
        try:
            array = keras.ops.convert_to_numpy(images)
            received = f"an array of {array.dtype} of shape {array.shape}"
        except (RuntimeError, TypeError, ValueError):  # a list of arrays of several shapes
            received = f"a {type(images).__name__} of {len(images)} entries"
    is_numeric = array is not None and (array.dtype.kind in "uif" or array.dtype.name == "bfloat16")
    if not is_numeric or array.ndim != 4 or not len(array):
        one = is_numeric and array.ndim == 3
        raise ValueError(
            "`images` must have the shape (batch, height, width, channels). "
            f"Received: {received}{'; one image needs a batch axis: image[None]' if one else ''}"
        )
    return array


def check_fit(images: np.ndarray, model: keras.Model) -> None:
    """Check that images have the size and the channels of the input of a model.

    Args:
        images: np.ndarray. (batch, height, width, channels).
        model: keras.Model. The model. If its input isn't known, nothing is checked.

    Raises:
        ValueError: If the images don't fit the input.

    Example:
    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
    >>> check_fit(np.zeros((1, 16, 16, 3)), model)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: `images` must fit the model's input (None, 32, 32, 3). ...
    """
    inputs = getattr(model, "inputs", None) or []
    for expected in (tuple(entry.shape) for entry in inputs[:1]):
        pairs = zip(expected[1:], images.shape[1:], strict=False)
        if len(expected) != 4 or any(a not in (None, b) for a, b in pairs):
            raise ValueError(
                f"`images` must fit the model's input {expected}. "
                f"Received: images of shape {images.shape}"
            )


def _pick(backbone: Any, block: int | Mapping[str, int]) -> dict[str, str]:
    """Return {level: name of its output in `_assignment_model`}."""
    assignments = backbone.assignments
    wanted = block if isinstance(block, Mapping) else dict.fromkeys(assignments, block)
    names = {}
    for level, index in wanted.items():
        if level not in assignments:
            raise ValueError(
                f"Clusters are at the levels {list(assignments)}. Received: block={block!r}"
            )
        depth = len(assignments[level])
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise ValueError(
                "`block` must be an integer, or a dict of levels and integers. "
                f"Received: block={block!r}"
            )
        if not -depth <= index < depth:
            raise ValueError(f"{level} has {depth} blocks. Received: block={block!r}")
        names[level] = f"{level}_{index % depth}"
    return names


# --- Parts of models --------------------------------------------------------------------------


def part_of(owner: keras.Model, name: str, inputs: Any, outputs: Any) -> keras.Model:
    """Return the model between tensors in the graph of another model, the same at every call.

    The part is kept as long as its owner. LoRA, quantization and `Sequential.add` change the
    variables or tensors of the owner. After such a change a new part is made, because the old one
    would still compute the earlier result.

    Args:
        owner: keras.Model. The model in whose graph the tensors are.
        name: str. The name under which the part is kept.
        inputs: keras.KerasTensor. The input of the part.
        outputs: keras.KerasTensor, list or dict. The outputs of the part, or several of them.

    Returns:
        keras.Model. The part, which shares the layers of the owner.

    Example:
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    >>> part = part_of(model, "first", model.inputs[0], model.layers[0].output)
    >>> part.predict(np.zeros((1, 4)), verbose=0).tolist()
    [[0.0, 0.0]]
    """
    parts = _PARTS.setdefault(owner, {})
    # the objects are kept, because their `id` alone could be given to another object later
    held = [*keras.tree.flatten((inputs, outputs)), *owner.variables]
    part, known = parts.get(name, (None, []))
    if len(known) != len(held) or any(a is not b for a, b in zip(known, held, strict=True)):
        part = keras.Model(inputs, outputs)
        parts[name] = part, held
    return part


def _assignment_model(backbone: Any) -> keras.Model:
    """Return the model from a backbone's input to all its assignments."""
    outputs = {
        f"{level}_{index}": tensor
        for level, tensors in backbone.assignments.items()
        for index, tensor in enumerate(tensors)
    }
    return part_of(backbone, "assignments", backbone.inputs[0], outputs)


# --- Finding the backbone ---------------------------------------------------------------------


def _way(model: Any) -> tuple[list[keras.Model], Any]:
    """Return the models to apply one after the other, and the backbone that follows them."""
    backbones = [inside for inside in _models_in(model) if hasattr(inside, "assignments")]
    steps, current = [], model
    while (backbone := _at_input(current, backbones)) is None:
        found = _nested(current, backbones)
        if found is None:
            raise ValueError(_no_backbone(model, backbones))
        tensor, nested = found
        sources = keras.utils.get_source_inputs(tensor)
        if len(sources) != 1:
            raise ValueError(
                "The layers before the PaCaViT must have one input. "
                f"Received: {model!r}, with {len(sources)} inputs before it"
            )
        if sources[0] is not tensor:
            steps.append(part_of(current, "before", sources[0], tensor))
        current = nested
    if not backbone.assignments:
        hint = ""
        if hasattr(backbone, "memory_reads"):
            hint = "It has a memory, which `keras_paca.memory_maps` shows. "
        elif backbone.get_config().get("attention") == "castling":
            hint = "It has castling attention, from each patch to all patches. "
        raise ValueError(f"No stage of this model has clusters. {hint}Received: {model!r}")
    return steps, backbone


def _models_in(model: keras.Model) -> list[keras.Model]:
    """Return a model and all models inside it, in its layers or its attributes."""
    found, waiting = [], [model]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, keras.Model) or any(current is each for each in found):
            continue
        found.append(current)
        held = [getattr(current, name, None) for name in HELD_AS]
        waiting.extend([*current._flatten_layers(), *held])
    return found


def _at_input(model: Any, backbones: list[Any]) -> Any:
    """Return the backbone that has the same input as the model, such as the model itself."""
    inputs = getattr(model, "inputs", None)
    if inputs is None or len(inputs) != 1:
        return None
    sharing = [each for each in backbones if each.inputs[0] is inputs[0]]
    return next((each for each in sharing if each.assignments), next(iter(sharing), None))


def _nested(model: Any, backbones: list[Any]) -> tuple[keras.KerasTensor, keras.Model] | None:
    """Return (input, inner model) of the first inner model that contains a PaCaViT."""
    for operation, tensors in _calls(model):
        leads = isinstance(operation, keras.Model) and (
            _at_input(operation, backbones) is not None or _nested(operation, backbones) is not None
        )
        if leads and len(tensors) == 1:
            return tensors[0], operation
    return None


def _calls(model: Any) -> Iterator[tuple[Any, list]]:
    """Yield (layer, its input tensors), from the outputs of a functional graph backwards."""
    waiting, seen = list(getattr(model, "outputs", None) or []), set()
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if (id(operation), index) in seen:
            continue
        seen.add((id(operation), index))
        tensors = list(operation._inbound_nodes[index].input_tensors)
        waiting.extend(tensors)
        yield operation, tensors


def _no_backbone(model: Any, backbones: list[Any]) -> str:
    """Return the error message for a model in whose graph there is no backbone."""
    message = (
        "The model must be a `keras_paca.PaCaViT`, a segmenter or detector on one, or a functional "
        "or Sequential model that calls one as a layer: `backbone(x)`, not `backbone.output`. "
    )
    if backbones:
        message += f"Pass the backbone itself, here the layer {backbones[0].name!r}. "
    return f"{message}Received: {model!r:.200}"
