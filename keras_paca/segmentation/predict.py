"""A segmenter on one picture of any size: a class for each of the picture's own pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_paca.backbones.paca_vit import normalise_rgb
from keras_paca.preprocessing.whole import (
    interpolate,
    read_array,
    resize_bilinear,
    resized_size,
)
from keras_paca.segmentation.segmenter import Segmenter

CHUNK = 2**24  # logits at a time: those of a whole photograph may fill the memory


def segment(
    model: Segmenter, image: np.ndarray, short_side: int = 512, long_side: int = 2048
) -> np.ndarray:
    """Return the class of each pixel of a picture.

    The picture is resized bilinearly to `short_side`, its long side at most `long_side`, or to the
    size that the model takes. The logits are resized to the picture's own size.

    Args:
        model: Segmenter. One that doesn't normalise its images gets them normalised.
        image: uint8 or uint16 array (height, width, 3) in RGB or (height, width) in grey, 0..255
            or 0..65535.
        short_side: int. Least side of the resized picture.
        long_side: int. Limit of its other side.

    Returns:
        Array (height, width) of class ids.

    Raises:
        ImportError: Without Pillow (the extra `images`).
        ValueError: If the image isn't such an array.
    """
    image = read_array(image)
    fixed = model.inputs[0].shape[1:3]
    size = resized_size(*image.shape[:2], short_side, long_side)
    size = tuple(side or known for side, known in zip(fixed, size, strict=True))
    # Small pictures of a long shape would end below the least side that models take.
    resized = resize_bilinear(image, [max(side, 32) for side in size])
    if not model.include_preprocessing:
        resized = normalise_rgb(resized)
    logits = model.predict_on_batch(resized[None])[0]
    return best_classes(logits, image.shape[:2])


def best_classes(logits: Any, size: Sequence[int]) -> np.ndarray:
    """Return the class of the largest logit at another size, row by row of it.

    Args:
        logits: Array (h, w, classes).
        size: (height, width) of the result.

    Returns:
        Array (height, width) of class ids, int32.
    """
    logits = np.asarray(logits, "float32")
    height, width = size
    rows = max(CHUNK // (width * logits.shape[-1]), 1)
    parts = []
    for start in range(0, height, rows):
        place = np.arange(start, min(start + rows, height))
        part = interpolate(logits, place, height, axis=0)
        part = interpolate(part, np.arange(width), width, axis=1)
        parts.append(part.argmax(axis=-1).astype("int32"))
    return np.concatenate(parts)
