"""A segmenter's result over the image: the classes, and what the head's clusters look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_paca.arguments import check_positive
from keras_paca.explain.cluster_maps import check_fit, image_array, part_of
from keras_paca.explain.pictures import blend, new_figure, plot_cluster_maps, rgb_images
from keras_paca.labels import ade20k_palette
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
    num_classes: int | None = None,
) -> "Figure":
    """Draw images, with the true classes over them where they are given, and the predicted ones.

    Args:
        images: Array (batch, height, width, 3), RGB in 0..255.
        logits: Array (batch, height, width, num_classes), of `Segmenter.predict`; or the class ids
            themselves, integers (batch, height, width).
        masks: Array (batch, height, width), the true classes; ids that are none stay uncoloured.
        palette: dict. {class: (red, green, blue)} in 0..255, such as `ade20k_palette()`; by default
            matplotlib's tab20, and ADE20K's, again and again, where there are more classes.
        alpha: float. Opacity of the colours, 0 to 1.
        path: str or Path. Where to save the picture, in the format of its suffix; `None` doesn't
            save it.
        num_classes: int. Number of classes, where `logits` are ids; by default what the largest
            needs.

    Returns:
        The matplotlib figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: Without matplotlib (the extra `plots`).
        ValueError: If images, logits and masks don't fit together, or a class has no colour.
    """
    images = rgb_images(images)
    ids, num_classes = _class_ids(logits, num_classes, images.shape[:3])
    classes = {"prediction": ids}
    if masks is not None:
        masks = ops.convert_to_numpy(masks)
        masks = masks[..., 0] if masks.ndim == 4 and masks.shape[-1] == 1 else masks
        if masks.shape != images.shape[:3]:
            raise ValueError(
                f"`masks` must have the shape {images.shape[:3]} of the images. "
                f"Received: masks of shape {masks.shape}"
            )
        known = (masks >= 0) & (masks < num_classes)
        classes = {"truth": np.where(known, masks, -1).astype("int32"), **classes}
    figure = new_figure(
        3 * (len(classes) + 1), 3 * len(images) * images.shape[1] / images.shape[2] + 0.3, path
    )
    colours = _colours(palette, num_classes)
    columns = {"image": images}
    columns |= {title: blend(images, ids, colours, alpha) for title, ids in classes.items()}
    axes = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (title, pictures) in zip(axes.T, columns.items(), strict=True):
        for axis, picture in zip(column, pictures, strict=True):
            axis.imshow(picture)
            axis.axis("off")
        column[0].set_title(title, fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _class_ids(
    logits: Any, num_classes: int | None, shape: tuple[int, ...]
) -> tuple[np.ndarray, int]:
    """Return the class of each pixel (batch, height, width), and the number of classes."""
    array = ops.convert_to_numpy(logits)
    if array.shape[:3] == shape and array.ndim == 4:
        return array.argmax(axis=-1), array.shape[-1]
    if array.shape != shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"`logits` must have the shape {(*shape, 'classes')} of the images, or be integer ids "
            f"of the shape {shape}. Received: logits of shape {array.shape} and dtype {array.dtype}"
        )
    largest = int(array.max(initial=0))
    if num_classes is None:
        num_classes = largest + 1
    if largest >= num_classes:
        raise ValueError(f"`logits` must be ids less than {num_classes}. Received: {largest}")
    return array.astype("int32"), num_classes


def _colours(palette: Mapping[int, Any] | None, num_classes: int) -> np.ndarray:
    """Return the colour of each class, (num_classes, 3) in 0..255."""
    if palette is None and num_classes <= 20:
        from matplotlib import colormaps

        tab20 = np.array(colormaps["tab20"].colors) * 255
        return np.concatenate([tab20[::2], tab20[1::2]])  # full colours before pale ones
    if palette is None:
        colours = list(ade20k_palette().values())
        return np.array([colours[number % len(colours)] for number in range(num_classes)])
    missing = [number for number in range(num_classes) if number not in palette]
    if missing:
        raise ValueError(
            f"`palette` must have a colour for each of {num_classes} classes. "
            f"Received: none for class {missing[0]}"
        )
    return np.array([list(palette[i]) for i in range(num_classes)])


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
    check_positive("batch_size", batch_size)
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
