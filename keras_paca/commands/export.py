"""`keras-paca export`: write a model for another runtime and check the file there."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca.commands.deployed import default_size, image_size, in_words_of_options
from keras_paca.commands.opening import normalise, open_model
from keras_paca.deploy import export
from keras_paca.deploy.arguments import check_model, input_shape
from keras_paca.deploy.exports import check_quantization, check_target
from keras_paca.deploy.formats import check_installed
from keras_paca.preprocessing import evaluation_transform, list_images

CALIBRATION_IMAGES = 100  # at most


def run(options: argparse.Namespace) -> int:
    """Export the model and print what the check found.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        ImportError: If a package that writes or runs the format is missing.
        OSError: If a file can't be read or written.
        ValueError: If an option or the model isn't suitable, or the file computes something else
            than the model.
        RuntimeError: If the format's converter or its runtime fails.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["export", "tiny", "tiny.onnx", "--quantize", "float16"]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: --quantize must be one of ('float16', 'dynamic', 'int8'), for LiteRT alone. ...
    """
    with in_words_of_options():  # before the model, which may be a download
        _, format = check_target(options.target, options.format)
        check_quantization(format, options.quantize, options.representative)
        size = image_size(options)
        files = list_images(options.representative) if options.representative is not None else []
        check_installed(format, check=not options.no_check)
    model = open_model(options)
    with in_words_of_options():
        check_model(model)
        if format == "litert":  # files of other formats may take any size
            size = size or default_size(model)
        export(
            model,
            options.target,
            options.format,
            image_size=size,
            batch_size=options.batch_size,
            quantize=options.quantize,
            representative_data=_representative_data(model, files, size),
            check=not options.no_check,
            fuse=not options.no_fuse,
        )
    return 0


def _representative_data(model: Any, files: Sequence[Path], size: Any) -> np.ndarray | None:
    """Return images of the file's size to calibrate with, evenly chosen; `None` without files."""
    if not files:
        return None
    size = input_shape(model, size)[1:3]
    if None in size:
        raise ValueError("--representative needs --image-size for a model of any size.")
    files = files[:: -(-len(files) // CALIBRATION_IMAGES)]
    images = [evaluation_transform(file, size, exif_transpose=True) for file in files]
    return normalise(model, np.stack(images))
