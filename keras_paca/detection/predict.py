"""Detection in one picture of any size, with boxes in the picture's own pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_paca.backbones.base import MEAN
from keras_paca.backbones.normalisation import normalisation_of, normalise_rgb
from keras_paca.detection.box_formats import to_xyxy
from keras_paca.detection.metric_data import read_detections
from keras_paca.preprocessing.whole import read_array, resize_bilinear, resized_size

MULTIPLE = 32  # The sides of the padded picture are multiples of this.


def detect(
    model: Any,
    image: np.ndarray,
    short_side: int = 800,
    long_side: int = 1333,
    pad_to: int | None = None,
) -> dict[str, np.ndarray]:
    """Detect the objects in one picture, prepared as in the official code.

    The picture is resized bilinearly to the largest size at which its shorter side is at most
    `short_side` and its longer side at most `long_side`. Then it is padded at the right and the
    bottom to multiples of 32. For a model with a fixed input size, the picture is resized as large
    as fits and padded to that size.

    Args:
        model: MaskRCNN. The detector, or another object that has `predict_on_batch`,
            `bounding_box_format` and `num_classes` and returns detections as `MaskRCNN` does. If it
            doesn't normalise its images, the function does.
        image: np.ndarray. uint8 in 0..255 or uint16 in 0..65535, of shape (height, width, 3) in
            RGB or (height, width) in grey.
        short_side: int. Limit of the shorter side of the resized picture in pixels.
        long_side: int. Limit of its longer side in pixels.
        pad_to: int. Side of the square to which the picture is padded. The default is the next
            multiple of 32 for each side.

    Returns:
        dict. "boxes" (n, 4), left, top, right and bottom in pixels of the picture; "scores" (n,);
        "labels" (n,), which are -1 for padding; and, if the model predicts masks, "masks" (n, rows,
        columns), probabilities inside the boxes.

    Raises:
        ImportError: If Pillow (the extra `images`) isn't installed.
        ValueError: If the image isn't an array of such a dtype and shape, if `pad_to` is less than
            a side of the resized picture, or if the output of the model has a wrong form.

    Example:
    >>> import numpy as np
    >>> import keras_paca
    >>> from keras_paca.detection import MaskRCNN, detect
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, num_classes=2, channels=8, proposals=50)
    >>> found = detect(detector, np.zeros((100, 150, 3), "uint8"), short_side=64)
    >>> found["boxes"].shape, found["labels"].shape
    ((100, 4), (100,))
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
    source = model if hasattr(model, "include_preprocessing") else getattr(model, "backbone", None)
    mean, _ = normalisation_of(source)
    padded = pad_image(resize_bilinear(image, resized), MULTIPLE, canvas, mean)
    if not getattr(source, "include_preprocessing", True):
        padded = normalise_rgb(padded, source)
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


def pad_image(
    image: np.ndarray,
    multiple: int,
    canvas: Sequence[int] | None = None,
    mean: Sequence[float] = MEAN,
) -> np.ndarray:
    """Pad an image at the right and the bottom with the mean colour.

    The normalisation turns this colour into 0, the padding of the official code.

    Args:
        image: array. Shape (height, width, 3), RGB in 0..255.
        multiple: int. The sides of the result are the next multiples of this, in pixels.
        canvas: tuple of int. (height, width) of the result in pixels, which replaces `multiple`.
        mean: Sequence of float. The colour, RGB in 0..1; by default ImageNet's mean.

    Returns:
        numpy.ndarray. The padded image, float32.

    Example:
    >>> pad_image(np.zeros((40, 64, 3)), multiple=32).shape
    (64, 64, 3)
    """
    height, width = image.shape[:2]
    sides = canvas or (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    padded = np.empty((*sides, 3), "float32")
    padded[...] = np.multiply(mean, 255)
    padded[:height, :width] = image
    return padded
