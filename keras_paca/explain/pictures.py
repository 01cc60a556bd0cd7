"""Drawing cluster and memory maps over their image, and measuring how clusters differ."""

import io
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_paca.arguments import check_positive, refuse_16_bits
from keras_paca.explain.memory_maps import find_memory
from keras_paca.extras import install_command
from keras_paca.warn import warn_user

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, path: str | Path | None = None) -> "Figure":
    """Return an empty matplotlib figure that a notebook displays.

    A notebook displays matplotlib's own figures only after `matplotlib.pyplot` is imported. That
    import would choose how a program opens windows, so it is left to the user.

    Args:
        width: float. Width in inches.
        height: float. Height in inches.
        path: str, Path or None. The file in which the figure will be saved. It is checked before
            anything is drawn.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` doesn't exist.
        ImportError: If matplotlib isn't installed (the extra `plots`).
        ValueError: If matplotlib can't save figures in the format of `path`.

    Example:
    >>> new_figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
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
    """Raise an error if matplotlib can't save a figure at a path."""
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
    """Convert a batch of RGB images to uint8.

    Args:
        images: array or Tensor. Images (batch, height, width, 3), RGB in 0..255.

    Returns:
        np.ndarray. uint8 (batch, height, width, 3).

    Raises:
        ValueError: If the images have another shape, or seem to be in 0..1 or normalised.

    Example:
    >>> rgb_images(np.full((1, 2, 2, 3), 128.0)).dtype
    dtype('uint8')
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
        # Images normalised with the mean and deviation of ImageNet reach 2.7. NaN is refused too.
        if largest != 0 and not largest > 3:
            raise ValueError(
                "`images` must be RGB in 0..255. Received: values from "
                f"{array.min():.3g} to {array.max():.3g}"
            )
    return np.clip(array, 0, 255).astype("uint8")


def blend(image: np.ndarray, ids: np.ndarray, colours: np.ndarray, alpha: float) -> np.ndarray:
    """Blend images with the colours of the classes of their pixels.

    `keras.visualization.draw_segmentation_masks` needs a float for each pixel and class, which is
    gigabytes for a photograph and 150 classes.

    Args:
        image: np.ndarray. (..., height, width, 3), in 0..255.
        ids: np.ndarray. (..., height, width), integers. The class of each pixel. A pixel with an id
            below 0 keeps its own colour.
        colours: np.ndarray. (classes, 3), in 0..255. The colour of each class.
        alpha: float. Opacity of the colours, in [0, 1].

    Returns:
        np.ndarray. uint8 (..., height, width, 3).

    Example:
    >>> image, ids = np.zeros((1, 2, 3)), np.array([[0, -1]])
    >>> blend(image, ids, np.array([[200, 100, 0]]), alpha=0.5).tolist()
    [[[100, 50, 0], [0, 0, 0]]]
    """
    mixed = (1 - alpha) * image.astype("float32") + alpha * colours.astype("float32")[ids]
    return np.clip(np.where(ids[..., None] >= 0, mixed, image), 0, 255).astype("uint8")


def plot_cluster_maps(
    image: Any,
    maps: Mapping[str, np.ndarray],
    top: int = 6,
    path: str | Path | None = None,
) -> "Figure":
    """Draw the clusters of one image.

    Each level is a row of pictures: the image, the winning cluster of each patch, and the maps of
    the strongest clusters. A cluster wins a patch if its map has the highest value there. The
    strongest clusters are those that win most patches. Their maps are drawn as heat maps over the
    image, each scaled from 0 to its own maximum.

    Args:
        image: array. Shape (height, width, 3), RGB in 0..255, or (height, width, 1), grey in
            0..255.
        maps: Mapping of str to np.ndarray. The result of `cluster_maps` for that image,
            {level: (height, width, clusters)} or {level: (1, height, width, clusters)}.
        top: int. Number of clusters whose maps are drawn.
        path: str, Path or None. The file in which the picture is saved, in the format of its
            suffix. By default it isn't saved.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` doesn't exist.
        ImportError: If matplotlib isn't installed (the extra `plots`).
        ValueError: If the image or a map has another shape, if there is nothing to draw, or if
            matplotlib can't save figures in the format of `path`.

    Example:
    >>> import numpy as np
    >>> from keras_paca import PaCaViT, cluster_maps, plot_cluster_maps
    >>> model = PaCaViT((8, 8, 8, 8), 1, 1, clusters=(4, 0, 0, 0), include_top=False)
    >>> image = np.zeros((32, 32, 3))
    >>> figure = plot_cluster_maps(image, cluster_maps(model, image[None]), top=2)
    >>> len(figure.axes)
    4
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
        # the strongest clusters get the colours that differ most
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


def plot_memory_maps(
    image: Any,
    maps: np.ndarray,
    tokens: Sequence[tuple[int, int]] | None = None,
    top: int = 6,
    path: str | Path | None = None,
    model: keras.Model | None = None,
) -> "Figure":
    """Draw where process tokens read the memory of one image.

    The first picture is the image with the grid of the process tokens. Each other picture is of one
    of them: its place is framed, and its reading weights are a heat map over the image, scaled from
    their minimum to their maximum. What is left of the image beside the last whole patches, which
    the model cuts off, is neither framed nor coloured.

    Args:
        image: array. Shape (height, width, 3), RGB in 0..255, or (height, width, 1), grey in
            0..255.
        maps: np.ndarray. The result of `memory_maps` for that image, (rows, columns, y, x) or
            (1, rows, columns, y, x).
        tokens: Sequence of (int, int). Row and column of the process tokens that are drawn. By
            default, the `top` tokens whose weights are the least uniform.
        top: int. Number of tokens that are drawn if `tokens` isn't given.
        path: str, Path or None. The file in which the picture is saved, in the format of its
            suffix. By default it isn't saved.
        model: keras.Model. The model, of which the sizes of the patches are read. Without it, they
            are computed from the sides of the image and of the maps. If the sides of the image
            aren't multiples of the patches, several sizes may fit; there is a warning then.

    Returns:
        matplotlib.figure.Figure. The figure.

    Raises:
        FileNotFoundError: If the folder of `path` doesn't exist.
        ImportError: If matplotlib isn't installed (the extra `plots`).
        ValueError: If the image or the maps have another shape or don't fit one another or the
            model, if there is nothing to draw, if a place isn't in the grid, or if matplotlib can't
            save figures in the format of `path`.

    Example:
    >>> import numpy as np
    >>> from keras_paca import ViTTM, memory_maps, plot_memory_maps
    >>> model = ViTTM(8, 2, depth=1, memory_patch_size=8, process_patch_size=16, classes=2)
    >>> image = np.zeros((32, 48, 3))
    >>> figure = plot_memory_maps(image, memory_maps(model, image[None]), top=2)
    >>> len(figure.axes)
    3
    """
    image, maps = _rgb(image), np.asarray(maps, dtype="float32")
    if maps.ndim == 5 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim != 4:
        raise ValueError(
            "`maps` must be those of one image, (rows, columns, height, width). "
            f"Received: maps of shape {maps.shape}"
        )
    height, width = image.shape[:2]
    rows, columns = maps.shape[:2]
    side, memory_side = _patch_sides(image.shape[:2], maps.shape, model)
    if tokens is None:
        uneven = np.argsort(-maps.std(axis=(2, 3)), axis=None, kind="stable")
        tokens = [divmod(int(index), columns) for index in uneven[: check_positive("top", top)]]
    tokens = _places(tokens, rows, columns)
    figure = new_figure(1.9 * (len(tokens) + 1), 2.1 * height / width + 0.3, path)
    from matplotlib.patches import Rectangle

    axes = figure.subplots(1, len(tokens) + 1, squeeze=False)[0]
    for axis in axes:
        axis.imshow(image)
        axis.axis("off")

    def frame(axis: Any, row: int, column: int, colour: str, line: float) -> None:
        place = (column * side - 0.5, row * side - 0.5)
        axis.add_patch(Rectangle(place, side, side, fill=False, edgecolor=colour, linewidth=line))

    axes[0].set_title(f"{rows} x {columns} process tokens", fontsize=8)
    for row, column in np.ndindex(rows, columns):
        frame(axes[0], row, column, "white", 0.4)
    for axis, (row, column) in zip(axes[1:], tokens, strict=True):
        grid = maps[row, column] - maps[row, column].min()
        grid = np.kron(grid / max(float(grid.max()), 1e-12), np.ones((memory_side, memory_side)))
        heat, alpha = np.zeros((height, width)), np.zeros((height, width))
        covered = slice(0, grid.shape[0]), slice(0, grid.shape[1])  # the rest is cut off
        heat[covered], alpha[covered] = grid, 0.3 + 0.6 * grid
        axis.imshow(heat, cmap="inferno", alpha=alpha, vmin=0, vmax=1)
        frame(axis, row, column, "cyan", 1.5)
        axis.set_title(f"token ({row}, {column})", fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _patch_sides(size: tuple[int, int], shape: tuple[int, ...], model: Any) -> tuple[int, int]:
    """Return the sides of the patches of the process tokens and of the memory in pixels."""
    grids = {"process": shape[:2], "memory": shape[2:]}
    if model is None:
        process, memory = (_patch_side(size, grids[stream], stream) for stream in grids)
        return process, memory
    config = find_memory(model).get_config()
    sides = [config[f"{stream}_patch_size"] for stream in grids]
    made = [tuple(each // side for each in size) for side in sides]
    if made != list(grids.values()):
        raise ValueError(
            f"`maps` must be those of `model` for the image, of {size[0]} x {size[1]} pixels and "
            f"so of shape {(*made[0], *made[1])}. Received: maps of shape {shape}"
        )
    return sides[0], sides[1]


def _patch_side(size: tuple[int, int], grid: tuple[int, int], stream: str) -> int:
    """Return the side of the patches that make a grid of an image, and warn if it is a guess."""
    least = max(side // (count + 1) + 1 for side, count in zip(size, grid, strict=True))
    most = min(side // count for side, count in zip(size, grid, strict=True))
    made = f"{grid[0]} x {grid[1]} {stream} tokens of an image of {size[0]} x {size[1]} pixels"
    if least > most:
        raise ValueError(f"No patches make {made}. Received: maps of another image")
    if least < most and (most * grid[0], most * grid[1]) != size:
        warn_user(
            f"Patches from {least} to {most} pixels would make {made}; they are drawn with {most}. "
            "Pass `model=` to draw them as they are"
        )
    return most


def _places(tokens: Any, rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the places of process tokens, checked."""
    try:
        places = [tuple(map(operator.index, token)) for token in tokens]
    except TypeError:
        places = []
    known = all(len(x) == 2 and 0 <= x[0] < rows and 0 <= x[1] < columns for x in places)
    if not places or not known:
        raise ValueError(
            f"`tokens` must be places (row, column) in the grid of {rows} x {columns} process "
            f"tokens, at least one. Received: tokens={tokens!r:.100}"
        )
    return places


def cluster_statistics(maps: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Measure how much the clusters of each level differ.

    Both measures are computed for each image and averaged over the images.

    Args:
        maps: Mapping of str to np.ndarray. The result of `cluster_maps`,
            {level: (batch, height, width, clusters)}.

    Returns:
        dict. {level: {"cosine": float, "winners": float}}. "cosine" is the mean cosine similarity
        between the maps of two clusters; it is 1 if all clusters look at the same patches.
        "winners" is the number of clusters that win at least one patch, which means that their map
        has the highest value there.

    Example:
    >>> import numpy as np
    >>> from keras_paca import cluster_statistics
    >>> maps = np.eye(4).reshape(1, 2, 2, 4)  # each cluster looks at a patch of its own
    >>> cluster_statistics({"P2": maps})
    {'P2': {'cosine': 0.0, 'winners': 4.0}}
    """
    statistics = {}
    for level, batch in maps.items():
        cosines, winners = [], []
        for grid in np.asarray(batch, dtype="float64"):
            columns = grid.reshape(-1, grid.shape[-1])  # (patches, clusters)
            columns = columns / np.linalg.norm(columns, axis=0)
            count = columns.shape[1]
            pairs = count * (count - 1)
            total = np.square(columns.sum(axis=1)).sum() - count  # sum of the cosines of i != j
            cosines.append(total / pairs if pairs else 1.0)
            winners.append(len(np.unique(grid.argmax(axis=-1))))
        statistics[level] = {"cosine": float(np.mean(cosines)), "winners": float(np.mean(winners))}
    return statistics


def _winners(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the winning cluster of each patch (h, w), and all clusters, the strongest first."""
    winner = grid.argmax(axis=-1)
    won = np.bincount(winner.ravel(), minlength=grid.shape[-1])
    return winner, np.lexsort((-grid.max(axis=(0, 1)), -won))


def _enlarge(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge a grid to the size of the image, so that each patch becomes a uniform rectangle."""
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
