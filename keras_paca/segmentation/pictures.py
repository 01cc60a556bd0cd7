"""Pictures of a segmenter's predictions and of the clusters of its PaCa head."""

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
    """Draw images, the true classes if there are masks, and the predicted classes.

    Each image is one row of the figure. The classes are drawn in colours over the image.

    Args:
        images: array. Shape (batch, height, width, 3), RGB in 0..255.
        logits: array. Shape (batch, height, width, num_classes), as `Segmenter.predict` returns it;
            or integer class ids (batch, height, width).
        masks: array. The true classes, of shape (batch, height, width). Pixels whose id isn't a
            class aren't coloured.
        palette: dict. {class: (red, green, blue)} in 0..255, such as `ade20k_palette()`. The
            default is matplotlib's tab20 for up to 20 classes, and otherwise the palette of ADE20K,
            which is repeated if there are more classes than colours.
        alpha: float. Opacity of the colours, in [0, 1].
        path: str or Path. Where to save the picture. The suffix gives the format. `None` doesn't
            save it.
        num_classes: int. Number of classes if `logits` are ids. The default is the largest id
            plus 1.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: If matplotlib (the extra `plots`) isn't installed.
        ValueError: If the shapes of images, logits and masks don't fit together, a class has no
            colour, or matplotlib can't write a file with the suffix of `path`.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import plot_segmentation
    >>> images, ids = np.zeros((1, 32, 48, 3)), np.zeros((1, 32, 48), "int32")
    >>> figure = plot_segmentation(images, ids, masks=ids, num_classes=2)
    >>> [axis.get_title() for axis in figure.axes]
    ['image', 'truth', 'prediction']
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
        return np.concatenate([tab20[::2], tab20[1::2]])  # The pale colours come last.
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
    """Return the cluster maps of a segmenter's PaCa head, one map per class.

    A map says how much each patch contributes to a cluster. The compiled function is kept with the
    segmenter, so that later calls don't compile it again.

    Args:
        segmenter: Segmenter. A model with a `PaCaSegmentationHead`.
        images: array, dict or list. An array of shape (batch, height, width, channels), as the
            segmenter takes it; or a dict or a list with that array, as for `Segmenter.predict`.
        batch_size: int. Number of images that are processed at once.

    Returns:
        numpy.ndarray. The maps (batch, height / 4, width / 4, num_classes), float32. Each map sums
        to 1 over height and width.

    Raises:
        ValueError: If the head has no clusters, or the images don't have four axes.

    Example:
    >>> import numpy as np
    >>> import keras_paca
    >>> from keras_paca.segmentation import Segmenter, head_cluster_maps
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "paca", num_classes=3)
    >>> head_cluster_maps(segmenter, np.zeros((1, 64, 32, 3))).shape
    (1, 16, 8, 3)
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
        image: array. Shape (height, width, 3), RGB in 0..255.
        maps: array. The output of `head_cluster_maps` for that image.
        top: int. Number of clusters that are drawn as heat maps.
        path: str or Path. Where to save the picture. The suffix gives the format. `None` doesn't
            save it.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: If matplotlib (the extra `plots`) isn't installed.
        ValueError: If the image or the maps have a wrong shape, or matplotlib can't write a file
            with the suffix of `path`.

    Example:
    >>> import numpy as np
    >>> from keras_paca.segmentation import plot_head_clusters
    >>> maps = np.full((1, 16, 8, 3), 1 / 128)  # as `head_cluster_maps` returns them
    >>> figure = plot_head_clusters(np.zeros((64, 32, 3)), maps, top=2)
    >>> len(figure.axes)
    4
    """
    return plot_cluster_maps(image, {"head": maps}, top=top, path=path)
