"""Segmentation of one picture of any size, with a class for each of its pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_paca.backbones.normalisation import normalise_rgb
from keras_paca.preprocessing.whole import (
    interpolate,
    read_array,
    resize_bilinear,
    resized_size,
)
from keras_paca.segmentation.segmenter import Segmenter

SIDES = {"short_side": 512, "long_side": 2048}  # unless the model's transform says otherwise
CHUNK = 2**24  # logits that are resized at once, as those of a whole photograph may fill the memory


def segment(
    model: Segmenter,
    image: np.ndarray,
    short_side: int | None = None,
    long_side: int | None = None,
    multiple_of: int | None = None,
    window_size: int | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """Predict the class of each pixel of one picture.

    The picture is resized bilinearly to the largest size at which its shorter side is at most
    `short_side` and its longer side at most `long_side`, or to the fixed size of the model. The
    logits are resized to the original size of the picture.

    Args:
        model: Segmenter. The model. If it doesn't normalise its images, the function does.
        image: np.ndarray. uint8 in 0..255 or uint16 in 0..65535, of shape (height, width, 3) in
            RGB or (height, width) in grey.
        short_side: int. Limit of the shorter side of the resized picture in pixels. By default that
            in the model's `evaluation_transform`, or 512.
        long_side: int. Limit of its longer side in pixels. By default that in the model's
            `evaluation_transform`, or 2048, but at least `short_side`.
        multiple_of: int. A divisor of the sides, to which they are resized up in a second step. By
            default that in the model's `evaluation_transform`, or none.
        window_size: int. Side of the windows of `Segmenter.predict_in_windows` in pixels, whose
            mean logits are used. By default that in the model's `evaluation_transform`, or no
            windows. A model of a fixed size doesn't use windows.
        stride: int. Step between the windows in pixels. By default that in the model's
            `evaluation_transform`, or two thirds of the window.

    Returns:
        numpy.ndarray. The class ids (height, width), int32.

    Raises:
        ImportError: If Pillow (the extra `images`) isn't installed.
        ValueError: If the image isn't an array of such a dtype and shape.

    Example:
    >>> import numpy as np
    >>> import keras_paca
    >>> from keras_paca.segmentation import Segmenter, segment
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "fpn", num_classes=2)
    >>> segment(segmenter, np.zeros((100, 150, 3), "uint8"), short_side=64).shape
    (100, 150)
    """
    image = read_array(image)
    options = complete_transform(
        model,
        short_side=short_side,
        long_side=long_side,
        multiple_of=multiple_of,
        window_size=window_size,
        stride=stride,
    )
    fixed = model.inputs[0].shape[1:3]
    size = resized_size(*image.shape[:2], options["short_side"], options["long_side"])
    size = tuple(side or known for side, known in zip(fixed, size, strict=True))
    # The shorter side of a long, narrow picture could fall below the least side of the models.
    resized = resize_bilinear(image, [max(side, 32) for side in size])
    if options["multiple_of"] is not None and None in fixed:
        step = options["multiple_of"]
        sides = [-(-side // step) * step for side in resized.shape[:2]]
        resized = resize_bilinear(resized, sides)
    if not model.include_preprocessing:
        resized = normalise_rgb(resized, model)
    window = options["window_size"]
    if window is None or None not in fixed:
        logits = model.predict_on_batch(resized[None])[0]
    else:
        step = options["stride"] or max(2 * window // 3, 1)
        logits = model.predict_in_windows(resized[None], window, step)[0]
    return best_classes(logits, image.shape[:2])


def complete_transform(model: Any, **given: int | None) -> dict[str, int | None]:
    """Return the arguments of `segment`, completed by those of the model and the defaults.

    Args:
        model: keras.Model. The segmenter.
        **given: The arguments by their names, `None` where the caller chose nothing.

    Returns:
        dict. The arguments. "short_side" and "long_side" are never `None`.

    Example:
    >>> import keras_paca
    >>> from keras_paca.segmentation import Segmenter
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "fpn", 2, evaluation_transform={"short_side": 504})
    >>> complete_transform(segmenter, short_side=None, long_side=None)
    {'short_side': 504, 'long_side': 2048}
    """
    known = {**SIDES, **(getattr(model, "evaluation_transform", None) or {})}
    found = {name: known.get(name) if value is None else value for name, value in given.items()}
    if given["long_side"] is None:
        found["long_side"] = max(found["long_side"], found["short_side"])
    return found


def best_classes(logits: Any, size: Sequence[int]) -> np.ndarray:
    """Resize logits bilinearly and return the class of the largest one at each pixel.

    The rows are processed in groups, so that the resized logits are never all in the memory.

    Args:
        logits: Array of shape (h, w, classes).
        size: tuple of int. (height, width) of the result in pixels.

    Returns:
        numpy.ndarray. The class ids (height, width), int32.

    Example:
    >>> best_classes([[[0.0, 1.0], [1.0, 0.0]]], size=(1, 4)).tolist()
    [[1, 1, 0, 0]]
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
