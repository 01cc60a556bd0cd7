"""A detector's result over the image: boxes, labels, scores and masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_paca.detection.paste import paste_masks
from keras_paca.explain.pictures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_detections(
    images: Any,
    predictions: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    score_threshold: float = 0.5,
    columns: int = 4,
    path: str | Path | None = None,
) -> "Figure":
    """Draw images with what a detector found in them, one colour per class.

    Args:
        images: (batch, height, width, 3), RGB in 0..255.
        predictions: what `MaskRCNN.predict` returned, boxes as "xyxy" in pixels; of other
            detectors "boxes" (batch, n, 4), "scores" (batch, n) and "labels" (batch, n), -1 where
            there is none, without "masks".
        class_names: names of the labels, such as `coco_classes()`; by default their numbers.
        score_threshold: least score of what is drawn.
        columns: images in a row.
        path: where to save the picture, in the format of its suffix; `None` not to.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: without matplotlib (the extra `plots`).
    """
    images = np.clip(ops.convert_to_numpy(images), 0, 255).astype("uint8")
    height, width = images.shape[1:3]
    found = {name: ops.convert_to_numpy(array) for name, array in predictions.items()}
    masks = paste_masks(found, (height, width)) if "masks" in found else None
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(3 * columns, 3 * rows * height / width)
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes, images, strict=False)):
        picture = image.astype("float32")
        for j, (score, label) in enumerate(
            zip(found["scores"][i], found["labels"][i], strict=True)
        ):
            if label < 0 or score < score_threshold:
                continue
            label = int(label)
            colour = np.asarray(colormaps["tab20"](label % 20)[:3])
            if masks is not None:
                picture[masks[i][j]] = 0.5 * picture[masks[i][j]] + 127.5 * colour
            left, top, right, bottom = found["boxes"][i, j]
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour)
            )
            name = str(label) if class_names is None else class_names[label]
            axis.text(left, top, f"{name} {score:.2f}", fontsize=6, color=colour, va="bottom")
        axis.imshow(picture.astype("uint8"))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
