"""A detector's result over the image: boxes, labels, scores and masks."""

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
    """Draw images with what a detector found in them, one colour per class.

    Args:
        images: Array (batch, height, width, 3), RGB in 0..255.
        predictions: dict. What `MaskRCNN.predict` returned; of other detectors "boxes" (batch, n,
            4), "scores" (batch, n) and "labels" (batch, n), -1 where there is no object, perhaps
            without "masks".
        class_names: Sequence of str, or dict from label to str. Names of the labels, such as
            `coco_classes()`; by default the labels' numbers are shown.
        score_threshold: float. Least score of what is drawn, 0 to 1.
        columns: int. Images in a row.
        path: Where to save the picture, in the format of its suffix; `None` doesn't save it.
        bounding_box_format: str. Format of the boxes, the detector's own `bounding_box_format`.

    Returns:
        The matplotlib figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: Without matplotlib (the extra `plots`).
        ValueError: If the images or the predictions are of another form, the boxes can't be of
            this format, or a label has no name.
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
    """Return the name of each label."""
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
