"""Masks of boxes as masks of the image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops


def paste_masks(
    predictions: Mapping[str, Any], image_size: Sequence[int], threshold: float = 0.5
) -> list[np.ndarray]:
    """Lay the masks of a detector's predictions into images.

    Args:
        predictions: what `MaskRCNN.predict` returned, boxes as "xyxy" in pixels.
        image_size: (height, width) of the images.
        threshold: least probability of a mask.

    Returns:
        Per image, booleans (count, height, width).
    """
    boxes, masks, counts = (
        ops.convert_to_numpy(predictions[name]) for name in ("boxes", "masks", "count")
    )
    height, width = image_size
    pasted = []
    for places, grids, count in zip(boxes, masks, counts, strict=True):
        images = np.zeros((int(count), height, width), bool)
        for image, (left, top, right, bottom), grid in zip(images, places, grids, strict=False):
            rows = _weights(top, bottom, len(grid), height)
            columns = _weights(left, right, grid.shape[1], width)
            image[...] = rows @ grid @ columns.T >= threshold
        pasted.append(images)
    return pasted


def _weights(low: float, high: float, cells: int, size: int) -> np.ndarray:
    """Return the weight of each cell in each row of the image, (size, cells), 0 outside."""
    at = (np.arange(size) + 0.5 - low) / max(high - low, 1e-6) * cells - 0.5
    return np.maximum(1 - np.abs(at[:, None] - np.arange(cells)), 0).astype("float32")
