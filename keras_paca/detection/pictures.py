"""A detector's result over the image: boxes, labels, scores and masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_paca.detection.paste import paste_masks

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
        predictions: what `MaskRCNN.predict` returned, boxes as "xyxy" in pixels.
        class_names: names of the labels, such as `coco_classes()`; by default their numbers.
        score_threshold: least score of what is drawn.
        columns: images in a row.
        path: where to save the picture, in the format of its suffix; `None` not to.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: without matplotlib (the extra `plots`).
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: pip install keras-paca[plots]") from error
    images = np.clip(ops.convert_to_numpy(images), 0, 255).astype("uint8")
    height, width = images.shape[1:3]
    found = {name: ops.convert_to_numpy(array) for name, array in predictions.items()}
    masks = paste_masks(found, (height, width))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(3 * columns, 3 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for i, (axis, image) in enumerate(zip(axes, images, strict=False)):
        picture = image.astype("float32")
        for j in range(int(found["count"][i])):
            score, label = float(found["scores"][i, j]), int(found["labels"][i, j])
            if score < score_threshold:
                continue
            colour = np.asarray(colormaps["tab20"](label % 20)[:3])
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
