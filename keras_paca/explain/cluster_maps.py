"""What each learned cluster looks at: the cluster assignments, laid out as maps."""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

_PROBES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def cluster_maps(
    model: keras.Model,
    images: Any,
    block: int | Mapping[str, int] = -1,
    batch_size: int = 8,
) -> dict[str, np.ndarray]:
    """Return the cluster assignments of a model on images.

    In `maps["P2"][i, y, x, m]` stands how much of cluster m of that stage comes from the patch at
    (y, x) of image i.

    Args:
        model: a `PaCaViT`, or a functional or Sequential model that holds one; the layers before
            it are applied.
        images: (batch, height, width, channels), what `model` takes.
        block: which block's assignment, by its index in each stage; by default that which the
            stage computed last. {"P4": 2} picks levels too.
        batch_size: images at a time.

    Returns:
        {level: maps (batch, height, width, clusters)} of the stages that have clusters, "P2" at a
        quarter of the image's sides, "P3" at an eighth and so on, rounded up. float32; each map
        sums to 1 over height and width.

    Raises:
        ValueError: if the model holds no `PaCaViT`, or a stage no such block, or the images have
            no four axes.
    """
    images = keras.ops.convert_to_numpy(images)
    if images.ndim != 4 or not len(images):
        raise ValueError(
            "`images` must have the shape (batch, height, width, channels). "
            f"Received: images of shape {images.shape}"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *images.shape[1:]))
    steps, backbone = _probe(model)
    outputs = _pick(backbone, block)
    batches: dict[str, list[np.ndarray]] = {level: [] for level in outputs}
    for start in range(0, len(images), batch_size):
        x = images[start : start + batch_size]
        for step in steps:
            x = step.predict_on_batch(x)
        found = _assignment_model(backbone).predict_on_batch(x)
        height, width = x.shape[1:3]
        for level, name in outputs.items():
            stride = 2 ** int(level[1:])
            grid = (-(-height // stride), -(-width // stride))
            assignment = np.asarray(found[name], dtype="float32")  # (b, h w, m)
            batches[level].append(assignment.reshape(len(x), *grid, -1))
    return {level: np.concatenate(parts) for level, parts in batches.items()}


def _pick(backbone: Any, block: int | Mapping[str, int]) -> dict[str, str]:
    """Return {level: name of its output in `_assignment_model`}."""
    assignments = backbone.assignments
    wanted = block if isinstance(block, Mapping) else dict.fromkeys(assignments, block)
    names = {}
    for level, index in wanted.items():
        if level not in assignments:
            raise ValueError(
                f"Clusters are at the levels {list(assignments)}. Received: block={block}"
            )
        depth = len(assignments[level])
        if not -depth <= index < depth:
            raise ValueError(f"{level} has {depth} blocks. Received: block={block}")
        names[level] = f"{level}_{index % depth}"
    return names


def _assignment_model(backbone: Any) -> keras.Model:
    """Return the model from a backbone's input to all its assignments, compiled but once.

    LoRA and quantization give the backbone other variables, and it a new compilation.
    """
    held = {id(variable): variable for variable in backbone.variables}
    probe, known = _PROBES.get(backbone, (None, None))
    if known is None or known.keys() != held.keys():
        outputs = {
            f"{level}_{index}": tensor
            for level, tensors in backbone.assignments.items()
            for index, tensor in enumerate(tensors)
        }
        probe = keras.Model(backbone.input, outputs)
        _PROBES[backbone] = probe, held
    return probe


def _probe(model: Any) -> tuple[list[keras.Model], Any]:
    """Return the models to apply one after the other, and the backbone that follows them."""
    steps = []
    while not hasattr(model, "assignments"):
        found = _nested(model)
        if found is None:
            raise ValueError(
                "The model must be a `keras_paca.PaCaViT`, or a functional or Sequential model "
                "that calls one as a layer: `backbone(x)`, not `backbone.output`; what "
                "`clone_model` makes of one is none, `from_config` copies it. "
                f"Received: {model!r}"
            )
        tensor, model = found
        sources = keras.utils.get_source_inputs(tensor)
        if sources[0] is not tensor:
            steps.append(keras.Model(sources[0] if len(sources) == 1 else sources, tensor))
    if not model.assignments:
        raise ValueError(f"No stage of this model has clusters. Received: {model!r}")
    return steps, model


def _nested(model: Any) -> tuple[keras.KerasTensor, keras.Model] | None:
    """Return (what it is called on, model) for the model within `model` that leads to a PaCaViT."""
    for operation, tensors in _calls(model):
        leads = isinstance(operation, keras.Model) and (
            hasattr(operation, "assignments") or _nested(operation) is not None
        )
        if leads and len(tensors) == 1:
            return tensors[0], operation
    return None


def _calls(model: Any) -> Iterator[tuple[Any, list]]:
    """Yield (layer, tensors it is called on) backwards through a functional graph."""
    waiting, seen = list(getattr(model, "outputs", None) or []), set()
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if (id(operation), index) in seen:
            continue
        seen.add((id(operation), index))
        tensors = list(operation._inbound_nodes[index].input_tensors)
        waiting.extend(tensors)
        yield operation, tensors
