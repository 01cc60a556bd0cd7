"""What each process token of a Token Turing Machine reads in the memory, as maps."""

from typing import Any

import keras
import numpy as np

from keras_paca.arguments import check_positive, refuse_16_bits
from keras_paca.explain.cluster_maps import check_fit, image_array, part_of


def memory_maps(
    model: keras.Model,
    images: Any,
    block: int = -1,
    heads: bool = False,
    batch_size: int = 8,
) -> np.ndarray:
    """Return the weights with which the process tokens of a model read its memory.

    `maps[i, r, c, y, x]` is the weight with which the process token at (r, c) of image i reads the
    memory token at (y, x). The weights of a process token sum to 1, with linear attention up to
    1e-6. With TokenLearner they don't, because it reads the process tokens, too. The model that
    computes the weights is made once and kept as long as the model itself.

    Args:
        model: keras.Model. A `ViTTM`, or a segmenter that has one as its `backbone`.
        images: array, Tensor, list or dict. An array or a tensor of shape (batch, height, width,
            channels), as for `model.predict`; or a dict or a list with one of them.
        block: int. The index of the block that reads; by default the last one.
        heads: bool. Whether the weights are returned by head. Otherwise their mean is.
        batch_size: int. Number of images that are processed at a time.

    Returns:
        np.ndarray. float32 (batch, rows, columns, height, width): of the process tokens, then of
        the memory. With `heads=True`, (batch, heads, rows, columns, height, width).

    Raises:
        ValueError: If the model isn't such a model or has no such block; if the images don't have
            four axes or don't fit the model; or if they are integers above 255.

    Example:
    >>> from keras_paca import ViTTM, memory_maps
    >>> model = ViTTM(8, 2, depth=1, memory_patch_size=8, process_patch_size=16, classes=2)
    >>> maps = memory_maps(model, np.zeros((1, 32, 48, 3)))
    >>> maps.shape, round(float(maps[0, 1, 2].sum()), 3)
    ((1, 2, 3, 4, 6), 1.0)
    """
    backbone = find_memory(model)
    reads, count = backbone.memory_reads, len(backbone.memory_reads)
    if isinstance(block, bool) or not isinstance(block, (int, np.integer)):
        raise ValueError(f"`block` must be an integer. Received: block={block!r}")
    if not -count <= block < count:
        raise ValueError(f"The model has {count} blocks. Received: block={block}")
    check_positive("batch_size", batch_size)
    images = image_array(images)
    refuse_16_bits(images)
    check_fit(images, backbone)
    head, (memory, process) = reads[block]
    outputs = [head.reading_weights(memory, process), memory, process]
    reading = part_of(backbone, f"reading{block % count}", backbone.inputs[0], outputs)
    found = []
    for start in range(0, len(images), batch_size):
        x = images[start : start + batch_size].astype(backbone.inputs[0].dtype)
        weights, *maps = reading.predict_on_batch(x)
        grids = [side for each in reversed(maps) for side in each.shape[1:3]]
        weights = np.asarray(weights, dtype="float32")
        found.append(weights.reshape(*weights.shape[:2], *grids))
    maps = np.concatenate(found)
    return maps if heads else maps.mean(axis=1)


def find_memory(model: Any) -> Any:
    """Return the model with a memory: the model itself, or its backbone.

    Args:
        model: keras.Model. A `ViTTM`, or a segmenter that has one as its `backbone`.

    Raises:
        ValueError: If it has no memory.

    Example:
    >>> from keras_paca import ViTTM
    >>> model = ViTTM(8, 2, depth=1, classes=2)
    >>> find_memory(model) is model
    True
    """
    for each in (model, getattr(model, "backbone", None)):
        if isinstance(each, keras.Model) and hasattr(each, "memory_reads"):
            return each
    raise ValueError(
        "`model` must be a `keras_paca.ViTTM`, or have one as its `backbone`; other models have no "
        f"memory. Received: model={model!r:.200}"
    )
