"""Pictures of a detector's predictions: boxes, labels, scores and masks over the image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_paca.detection.box_formats import brief
from keras_paca.detection.paste import check_fraction, paste_mask, read_predictions
from keras_paca.explain.pictures import new_figure, rgb_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_detections(
    images: Any,
    predictions: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    score_threshold: float = 0.5,
    columns: int = 4,
    path: str | Path | None = None,
    bounding_box_format: str = "xyxy",
) -> "Figure":
    """Draw images and the objects that a detector found in them, in one colour per class.

    Args:
        images: array. Shape (batch, height, width, 3), RGB in 0..255.
        predictions: dict. The output of `MaskRCNN.predict`, or of another detector: "boxes" (batch,
            n, 4), "scores" (batch, n), "labels" (batch, n), which are -1 for padding, and
            optionally "masks" (batch, n, rows, columns).
        class_names: Sequence of str or dict. Names of the labels, such as `coco_classes()`, or a
            dict {label: name}. By default the labels are shown as numbers.
        score_threshold: float. Least score of an object that is drawn, in [0, 1].
        columns: int. Number of images in a row.
        path: str or Path. Where to save the picture. The suffix gives the format. `None` doesn't
            save it.
        bounding_box_format: str. Format of the boxes, which is the `bounding_box_format` of the
            detector.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: If matplotlib (the extra `plots`) isn't installed.
        ValueError: If the images or the predictions have wrong shapes, if the boxes can't have this
            format, if a label has no name, or if matplotlib can't write a file with the suffix of
            `path`.

    Example:
    >>> import numpy as np
    >>> from keras_paca.detection import plot_detections
    >>> predictions = {
    ...     "boxes": np.array([[[8, 8, 32, 24]]]),
    ...     "scores": np.array([[0.9]]),
    ...     "labels": np.array([[1]]),
    ... }
    >>> figure = plot_detections(np.zeros((1, 32, 48, 3)), predictions, ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['dog 0.90']
    """
    images = rgb_images(images)
    size = images.shape[1:3]
    check_fraction("score_threshold", score_threshold)
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise ValueError(f"`columns` must be an integer of 1 or more. Received: columns={columns}")
    found = read_predictions(predictions, ("boxes", "scores", "labels"), size, bounding_box_format)
    if len(found["boxes"]) != len(images):
        raise ValueError(
            "Expected predictions for each image. Received: "
            f"{len(images)} images and predictions for {len(found['boxes'])}"
        )
    drawn = (found["labels"] >= 0) & (found["scores"] >= score_threshold)
    names = _names_of(found["labels"][drawn], class_names)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(3 * columns, 3 * rows * size[0] / size[1], path)
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes, images, strict=False)):
        picture = image.astype("float32")
        for j in np.flatnonzero(drawn[i]):
            label = int(found["labels"][i, j])
            colour = np.asarray(colormaps["tab20"](label % 20)[:3])
            box = found["boxes"][i, j]
            if "masks" in found:
                mask = paste_mask(box, found["masks"][i, j], 0.5, size)
                picture[mask] = 0.5 * picture[mask] + 127.5 * colour
            left, top, right, bottom = box
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour)
            )
            text = f"{names[label]} {found['scores'][i, j]:.2f}"
            axis.text(left, top, text, fontsize=6, color=colour, va="bottom")
        axis.imshow(picture.astype("uint8"))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _names_of(labels: np.ndarray, class_names: Any) -> dict[int, str]:
    """Return the name of each label that is drawn."""
    numbers = sorted({int(label) for label in labels})
    if class_names is None:
        return {number: str(number) for number in numbers}
    if isinstance(class_names, str) or not isinstance(class_names, Sequence | Mapping | np.ndarray):
        raise ValueError(
            "`class_names` must be the names of the labels, a list of str. "
            f"Received: class_names={brief(class_names)}"
        )
    known = class_names if isinstance(class_names, Mapping) else dict(enumerate(class_names))
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise ValueError(
            f"`class_names` must name every label that is drawn. Received: {len(known)} names, and "
            f"predictions with the label {unknown[0]}, counted from 0"
        )
    return {number: str(known[number]) for number in numbers}
