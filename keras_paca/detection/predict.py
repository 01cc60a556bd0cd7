"""A detector on one picture of any size: boxes in the picture's own pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_paca.backbones.paca_vit import MEAN, normalise_rgb
from keras_paca.detection.box_formats import to_xyxy
from keras_paca.detection.metric_data import read_detections
from keras_paca.preprocessing.whole import read_array, resize_bilinear, resized_size

MULTIPLE = 32  # of the padded sides


def detect(
    model: Any,
    image: np.ndarray,
    short_side: int = 800,
    long_side: int = 1333,
    pad_to: int | None = None,
) -> dict[str, np.ndarray]:
    """Return what a detector finds in a picture, by the official transform.

    The picture is resized bilinearly to `short_side`, its long side at most `long_side`, and padded
    at the right and the bottom to a multiple of 32. For a model of one size it is made as large as
    fits there, and padded to it.

    Args:
        model: A `MaskRCNN`, or another object with `predict_on_batch`, `bounding_box_format` and
            `num_classes` that returns detections as `MaskRCNN` does. One that doesn't normalise
            its images gets them normalised.
        image: uint8 or uint16 array (height, width, 3) in RGB or (height, width) in grey, 0..255
            or 0..65535.
        short_side: int. Least side of the resized picture.
        long_side: int. Limit of its other side.
        pad_to: int. Side of the square to which it is padded; by default the next multiple of 32
            for each side.

    Returns:
        dict. "boxes" (n, 4), left, top, right and bottom in pixels of the picture; "scores" (n,);
        "labels" (n,), -1 where there is no object; and "masks" (n, rows, columns) in the boxes,
        where the model has masks.

    Raises:
        ImportError: Without Pillow (the extra `images`).
        ValueError: If the image isn't such an array, `pad_to` is less than its resized sides, or
            the model returns something else.
    """
    image = read_array(image)
    size = image.shape[:2]
    resized = resized_size(*size, short_side, long_side)
    if pad_to is not None and pad_to < max(resized):
        raise ValueError(
            f"`pad_to` must hold the resized picture, of {resized[0]} x {resized[1]} pixels. "
            f"Received: pad_to={pad_to}"
        )
    canvas = None if pad_to is None else (pad_to, pad_to)
    fixed = (getattr(model, "input_shape", None) or (None,) * 4)[1:3]
    if canvas is None and None not in fixed:
        scale = min(fixed[0] / size[0], fixed[1] / size[1])
        resized = [max(int(side * scale + 0.5), 1) for side in size]
        canvas = fixed
    padded = pad_image(resize_bilinear(image, resized), MULTIPLE, canvas)
    source = model if hasattr(model, "include_preprocessing") else getattr(model, "backbone", None)
    if not getattr(source, "include_preprocessing", True):
        padded = normalise_rgb(padded)
    found = read_detections("the model's predictions", model.predict_on_batch(padded[None]))
    if found["labels"].max(initial=-1) >= model.num_classes:
        raise ValueError(
            f"Expected labels less than `num_classes`, {model.num_classes}, from the model. "
            f"Received: {found['labels'].max()}"
        )
    found = {name: array[0] for name, array in found.items()}
    scale = np.array([resized[1] / size[1], resized[0] / size[0]] * 2)
    boxes = to_xyxy(found["boxes"], model.bounding_box_format, padded.shape[:2])
    return {**found, "boxes": boxes / scale}


def pad_image(image: np.ndarray, multiple: int, canvas: Sequence[int] | None = None) -> np.ndarray:
    """Pad an image at the right and the bottom with ImageNet's mean colour.

    Once the model has normalised it that is 0, the official padding.

    Args:
        image: (height, width, 3), RGB in 0..255.
        multiple: of the result's sides.
        canvas: (height, width) of the result instead.

    Returns:
        float32 (height, width, 3).
    """
    height, width = image.shape[:2]
    sides = canvas or (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    padded = np.empty((*sides, 3), "float32")
    padded[...] = np.multiply(MEAN, 255)
    padded[:height, :width] = image
    return padded
