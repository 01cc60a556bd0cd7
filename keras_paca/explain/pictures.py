"""Pictures of the clusters over the image, and how much the clusters differ."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_paca.arguments import refuse_16_bits
from keras_paca.extras import install_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, path: str | Path | None = None) -> "Figure":
    """Return an empty matplotlib figure, in inches, that a notebook shows as it is.

    A notebook shows matplotlib's own once `matplotlib.pyplot` is imported, which takes over the
    windows of a program.

    Args:
        width: float. In inches.
        height: float. In inches.
        path: str or Path. Where the figure will be saved, checked before anything is drawn.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: Without matplotlib (the extra `plots`).
        ValueError: If matplotlib has no such format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"Pictures need matplotlib: {install_command('plots')}") from error

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    if path is not None:
        _check_path(Path(path), figure)
    return figure


def _check_path(path: Path, figure: "Figure") -> None:
    """Refuse a path to which matplotlib can't save."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must be in a folder that exists. No such folder: {path.parent}"
        )
    formats = figure.canvas.get_supported_filetypes()
    if path.is_dir() or (path.suffix and path.suffix[1:].lower() not in formats):
        raise ValueError(
            f"`path` must be a file that ends in one of {', '.join(sorted(formats))}. "
            f"Received: path={str(path)!r}"
        )


def rgb_images(images: Any) -> np.ndarray:
    """Return RGB images in 0..255 as uint8 (batch, height, width, 3).

    Raises:
        ValueError: If they have another shape, or seem to be in 0..1 or normalised.
    """
    array = ops.convert_to_numpy(images)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            "`images` must have the shape (batch, height, width, 3). "
            f"Received: images of shape {array.shape}"
        )
    refuse_16_bits(array)
    if array.dtype.kind not in "iu":
        array = array.astype("float32")
        largest = np.abs(array).max()
        # Images normalised with ImageNet's mean and deviation reach 2.7; NaN is refused as well.
        if largest != 0 and not largest > 3:
            raise ValueError(
                "`images` must be RGB in 0..255. Received: values from "
                f"{array.min():.3g} to {array.max():.3g}"
            )
    return np.clip(array, 0, 255).astype("uint8")


def blend(image: np.ndarray, ids: np.ndarray, colours: np.ndarray, alpha: float) -> np.ndarray:
    """Lay the colours of classes over images.

    `keras.visualization.draw_segmentation_masks` needs a float for each pixel and class: gigabytes
    for a photograph of 150 classes.

    Args:
        image: Array (..., height, width, 3) in 0..255.
        ids: Array (..., height, width) of integers; pixels below 0 keep the image's colour.
        colours: Array (classes, 3) in 0..255.
        alpha: float. Opacity of the colours.

    Returns:
        uint8 (..., height, width, 3).
    """
    mixed = (1 - alpha) * image.astype("float32") + alpha * colours.astype("float32")[ids]
    return np.clip(np.where(ids[..., None] >= 0, mixed, image), 0, 255).astype("uint8")


def plot_cluster_maps(
    image: Any,
    maps: Mapping[str, np.ndarray],
    top: int = 6,
    path: str | Path | None = None,
) -> "Figure":
    """Draw the clusters of one image: per level the image, the winners, and the strongest.

    A cluster wins a patch where its map is the largest; the strongest are those that win most
    patches. Their maps are drawn as heat over the image, each from 0 to its own largest value.

    Args:
        image: (height, width, 3), RGB in 0..255; or (height, width, 1).
        maps: `cluster_maps` of that image: {level: (height, width, clusters)}, or with a batch
            axis of one in front.
        top: how many clusters to draw as heat.
        path: where to save the picture, in the format of its suffix; `None` not to.

    Returns:
        The matplotlib figure.

    Raises:
        FileNotFoundError: If the folder of `path` is missing.
        ImportError: Without matplotlib (the extra `plots`).
        ValueError: If the shapes are others, or matplotlib has no format of this suffix.
    """
    image = _rgb(image)
    height, width = image.shape[:2]
    levels = {level: _single(level, grid) for level, grid in maps.items()}
    if not levels or top < 1:
        raise ValueError(
            "There must be a level and a cluster to draw. "
            f"Received: maps of the levels {list(maps)} and top={top}"
        )

    figure = new_figure(1.9 * (top + 2), 2.1 * len(levels) * height / width + 0.3, path)
    from matplotlib import colormaps

    axes = figure.subplots(len(levels), top + 2, squeeze=False)
    for row, (level, grid) in zip(axes, levels.items(), strict=True):
        winner, order = _winners(grid)
        colours = colormaps["hsv"](np.linspace(0, 1, len(order), endpoint=False))[:, :3]
        # the strongest clusters get the colours that lie farthest apart
        palette = np.empty((len(order), 3))
        palette[order] = 255 * colours[np.arange(len(order)) * 7919 % len(order)]
        drawn = blend(image, _enlarge(winner, height, width), palette, alpha=0.55)
        row[0].imshow(image)
        row[0].set_title(level, fontsize=8)
        row[1].imshow(drawn)
        row[1].set_title("winner per patch", fontsize=8)
        for axis, cluster in zip(row[2:], order, strict=False):
            heat = grid[..., cluster] / max(float(grid[..., cluster].max()), 1e-12)
            heat = _enlarge(heat, height, width)
            axis.imshow(image)
            axis.imshow(heat, cmap="inferno", alpha=0.3 + 0.6 * heat, vmin=0, vmax=1)
            axis.set_title(f"cluster {cluster}", fontsize=8)
        for axis in row:
            axis.axis("off")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def cluster_statistics(maps: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Say how much the clusters of each level differ, image by image, and return the means.

    Args:
        maps: what `cluster_maps` returned, {level: (batch, height, width, clusters)}.

    Returns:
        {level: {"cosine": mean cosine between the maps of two clusters, 1 where all look at the
        same; "winners": number of clusters that win at least one patch}}.
    """
    statistics = {}
    for level, batch in maps.items():
        cosines, winners = [], []
        for grid in np.asarray(batch, dtype="float64"):
            columns = grid.reshape(-1, grid.shape[-1])  # (patches, clusters)
            columns = columns / np.linalg.norm(columns, axis=0)
            count = columns.shape[1]
            pairs = count * (count - 1)
            total = np.square(columns.sum(axis=1)).sum() - count  # of cosines, i != j
            cosines.append(total / pairs if pairs else 1.0)
            winners.append(len(np.unique(grid.argmax(axis=-1))))
        statistics[level] = {"cosine": float(np.mean(cosines)), "winners": float(np.mean(winners))}
    return statistics


def _winners(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the winning cluster per patch (h, w), and all clusters, most patches won first."""
    winner = grid.argmax(axis=-1)
    won = np.bincount(winner.ravel(), minlength=grid.shape[-1])
    return winner, np.lexsort((-grid.max(axis=(0, 1)), -won))


def _enlarge(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a grid at the size of the image, each patch as one flat rectangle."""
    rows = np.arange(height) * grid.shape[0] // height
    columns = np.arange(width) * grid.shape[1] // width
    return grid[rows][:, columns]


def _rgb(image: Any) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            "`image` must have the shape (height, width, 3) or (height, width, 1). "
            f"Received: an image of shape {image.shape}"
        )
    refuse_16_bits(image)
    image = np.clip(np.round(image.astype("float32")), 0, 255).astype("uint8")
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _single(level: str, grid: Any) -> np.ndarray:
    grid = np.asarray(grid)
    if grid.ndim == 4 and len(grid) == 1:
        grid = grid[0]
    if grid.ndim != 3:
        raise ValueError(
            "`maps` must be those of one image, (height, width, clusters) each. "
            f"Received: {level} of shape {grid.shape}"
        )
    return grid
