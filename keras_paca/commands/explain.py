"""`keras-paca explain`: draw what the clusters or the memory of a model look at in pictures."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from keras_paca.backbones import Backbone
from keras_paca.commands.opening import (
    check_images,
    is_file,
    named_model,
    normalise,
    open_model,
    own_options,
)
from keras_paca.commands.pictures import (
    at_model_size,
    check_writable,
    given_paths,
    new_path,
    read_pictures,
    report,
)
from keras_paca.explain import (
    cluster_maps,
    cluster_statistics,
    memory_maps,
    plot_cluster_maps,
    plot_memory_maps,
)
from keras_paca.explain.pictures import new_figure


def run(options: argparse.Namespace) -> int:
    """Draw the clusters of each picture, or what its memory is read for.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status: 1 if a picture can't be read or drawn, otherwise 0.

    Raises:
        OSError: If a file can't be read or written.
        ValueError: If an option or the model isn't suitable.

    Example:
    >>> import contextlib, tempfile
    >>> from PIL import Image
    >>> from keras_paca import PaCaViT
    >>> from keras_paca_cli import parse
    >>> with contextlib.chdir(tempfile.mkdtemp()):
    ...     PaCaViT((8, 8, 8, 8), 1, 1, classes=2, input_shape=(32, 32, 3)).save("model.keras")
    ...     Image.new("RGB", (40, 30)).save("cat.png")
    ...     run(parse(["explain", "cat.png", "--model", "model.keras"]))  # doctest: +ELLIPSIS
    P2: mean cosine between clusters ...
    cluster maps in clusters.png
    0
    """
    paths = given_paths(options.images)
    single, taken = len(paths) == 1 and not Path(options.images[0]).is_dir(), set(paths)
    output = _check_output(options, single, taken)
    if not is_file(options):
        _check_named(options)
    model, failed = None, False
    for path, image in read_pictures(options.images):
        if isinstance(image, Exception):
            report(path, image)
            failed = True
            continue
        if model is None:
            model = open_model(options, trained=True)
            check_images(model, options)
            _check_shown(model, options)
            if not single:
                output.mkdir(parents=True, exist_ok=True)
        target = output if single else new_path(output, path, taken)
        try:
            _explain(model, image, path if not single else None, target, options)
        except (OSError, ValueError) as error:  # such as a picture that is too long and narrow
            report(path, error)
            failed = True
    return 1 if failed else 0


def _check_named(options: argparse.Namespace) -> None:
    """Refuse a model of a family that has nothing to show, before its weights are downloaded."""
    model = named_model(options)
    arguments = own_options(options, model)
    family = model.variant.family
    if "clusters" in family.option_names() or hasattr(family, "memory_reads"):
        return
    classifier = model.variant.models[model.variant.name]
    arguments = {name: arguments[name] for name in arguments if name in classifier.options}
    if not classifier.function(weights=None, **arguments).assignments:
        _refuse(family, options)


def _check_shown(model: Any, options: argparse.Namespace) -> None:
    """Refuse a model of ours that has nothing to show, once for all pictures."""
    backbone = getattr(model, "backbone", model)
    if isinstance(backbone, Backbone) and not (backbone.assignments or _has_memory(model)):
        _refuse(type(backbone), options)


def _refuse(family: type, options: argparse.Namespace) -> NoReturn:
    raise ValueError(
        f"This {family.__name__} has no clusters and no memory that could be drawn, as PaCa-ViT "
        f"and ViTTM have. Received: --model {options.model}"
    )


def _has_memory(model: Any) -> bool:
    return any(hasattr(x, "memory_reads") for x in (model, getattr(model, "backbone", None)))


def _check_output(options: argparse.Namespace, single: bool, taken: set[Path]) -> Path:
    """Return the output file or folder, checked before the model is opened."""
    output = Path(options.output or ("clusters.png" if single else "clusters"))
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"--output must be in a folder that exists. Received: {output}")
    if single:
        formats = new_figure(1, 1).canvas.get_supported_filetypes()
        if output.is_dir() or output.suffix[1:].lower() not in formats:
            raise ValueError(
                f"--output must be a file that ends in one of {', '.join(sorted(formats))}. "
                f"Received: {output}"
            )
        if output.resolve() in taken:
            raise ValueError(f"--output must not be the picture itself. Received: {output}")
    elif output.exists() and not output.is_dir():
        raise ValueError(
            f"--output must be a folder where several pictures are drawn. Received a file: {output}"
        )
    check_writable(output if output.is_dir() else output.absolute().parent, "--output", output)
    return output


def _explain(
    model: Any, image: np.ndarray, path: str | None, target: Path, options: argparse.Namespace
) -> None:
    """Draw the clusters of one picture, and print how much they differ; or the memory's reading."""
    shown = at_model_size(image, model, options)
    images = normalise(model, shown)[None]
    if _has_memory(model):
        maps = memory_maps(model, images)
        if path is not None:
            print(path)
        rows, columns, height, width = maps.shape[1:]
        print(f"{rows} x {columns} process tokens read {height} x {width} memory tokens")
        plot_memory_maps(
            shown, maps, top=min(options.top, rows * columns), model=model, path=target
        )
        print(f"memory maps in {target}")
        return
    maps = cluster_maps(model, images)
    if path is not None:
        print(path)
    for level, values in cluster_statistics(maps).items():
        print(
            f"{level}: mean cosine between clusters {values['cosine']:.3f}, "
            f"{values['winners']:.0f} of {maps[level].shape[-1]} win patches"
        )
    most = max(grid.shape[-1] for grid in maps.values())
    plot_cluster_maps(shown, maps, top=min(options.top, most), path=target)
    print(f"cluster maps in {target}")
