"""A segmenter's result over the image: the classes, and what the head's clusters look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_paca.explain.cluster_maps import check_batch_size, check_fit, image_array, part_of
from keras_paca.explain.pictures import new_figure, plot_cluster_maps
from keras_paca.segmentation.heads import PaCaSegmentationHead
from keras_paca.segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_segmentation(
    images: Any,
    logits: Any,
    masks: Any = None,
    palette: Mapping[int, Any] | None = None,
    alpha: float = 0.6,
    path: str | Path | None = None,
) -> "Figure":
    """Draw images, with the true classes over them where they are given, and the predicted ones.

    Args:
        images: (batch, height, width, 3), RGB in 0..255.
        logits: (batch, height, width, num_classes), of `Segmenter.predict`.
        masks: (batch, height, width), the true classes; ids that are none stay uncoloured.
        palette: {class: (red, green, blue)}, such as `ade20k_palette()`; by default matplotlib's
            tab20, or Keras's where there are more classes.
        alpha: opacity of the colours.
        path: where to save the picture, in the format of its suffix; `None` not to.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: without matplotlib (the extra `plots`).
    """
    images = ops.convert_to_numpy(images).astype("float32")
    logits = ops.convert_to_numpy(logits)
    num_classes = logits.shape[-1]
    if palette is None and num_classes <= 20:
        palette = _tab20()
    columns = {"image": images}
    classes = {"prediction": logits.argmax(axis=-1)}
    if masks is not None:
        masks = ops.convert_to_numpy(masks).reshape(logits.shape[:3]).astype("int32")
        known = (masks >= 0) & (masks < num_classes)
        classes = {"truth": np.where(known, masks, -1), **classes}
    for title, ids in classes.items():
        columns[title] = keras.visualization.draw_segmentation_masks(
            images,
            ids[..., None].astype("int32"),
            num_classes=num_classes,
            color_mapping=None if palette is None else {k: list(v) for k, v in palette.items()},
            alpha=alpha,
            data_format="channels_last",
        )
    height, width = images.shape[1:3]
    figure = new_figure(3 * len(columns), 3 * len(images) * height / width + 0.3)
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (title, pictures) in zip(axes.T, columns.items(), strict=True):
        for axis, picture in zip(column, np.asarray(pictures), strict=True):
            axis.imshow(np.clip(picture, 0, 255).astype("uint8"))
            axis.axis("off")
        column[0].set_title(title, fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _tab20() -> dict[int, list[int]]:
    """Return twenty colours, the ten full ones before the ten pale ones."""
    from matplotlib import colormaps

    colours = colormaps["tab20"].colors
    return {i: [int(255 * c) for c in each] for i, each in enumerate(colours[::2] + colours[1::2])}


def head_cluster_maps(segmenter: Segmenter, images: Any, batch_size: int = 8) -> np.ndarray:
    """Return what the PaCa head's clusters look at, one cluster per class.

    What is compiled for a segmenter is kept as long as the segmenter and used again.

    Args:
        segmenter: Segmenter. One with a `PaCaSegmentationHead`.
        images: array (batch, height, width, channels), what it takes; or that in a dict or a list,
            as for `Segmenter.predict`.
        batch_size: int. Images at a time.

    Returns:
        numpy.ndarray. (batch, height / 4, width / 4, num_classes), float32; each cluster sums to 1
        over height and width.

    Raises:
        ValueError: If the head has no clusters, or the images don't have four axes.
    """
    head = getattr(segmenter, "decode_head", None)
    if not isinstance(segmenter, Segmenter) or not isinstance(head, PaCaSegmentationHead):
        received = f"{segmenter!r:.200}" if head is None else f"a Segmenter with {head!r:.200}"
        raise ValueError(
            f"`segmenter` must be a Segmenter with a PaCaSegmentationHead. Received: {received}"
        )
    images = image_array(images)
    check_batch_size(batch_size)
    check_fit(images, segmenter)
    outputs = segmenter.output["auxiliary"]  # the head's cluster logits
    probe = part_of(segmenter, "head clusters", segmenter.inputs[0], outputs)
    images = images.astype(probe.inputs[0].dtype)
    logits = probe.predict(images, batch_size=batch_size, verbose=0).astype("float32")
    weights = np.exp(logits - logits.max(axis=(1, 2), keepdims=True))
    return weights / weights.sum(axis=(1, 2), keepdims=True)


def plot_head_clusters(
    image: Any, maps: Any, top: int = 6, path: str | Path | None = None
) -> "Figure":
    """Draw the clusters of a PaCa head over one image, as `plot_cluster_maps` does.

    Args:
        image: (height, width, 3), RGB in 0..255.
        maps: `head_cluster_maps` of that image.
        top: how many clusters to draw as heat.
        path: where to save the picture.

    Returns:
        The matplotlib figure.
    """
    return plot_cluster_maps(image, {"head": maps}, top=top, path=path)
