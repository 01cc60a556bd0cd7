"""`keras-paca convert`: convert a file of weights."""

import argparse

from keras_paca.backbones.convert import convert


def run(options: argparse.Namespace) -> int:
    """Convert the file.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        FileNotFoundError: If there is no such source, or no folder for the target.
        ValueError: If the source isn't a file of weights, or if it fits no variant.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["convert", "none.pth", "model.keras"]))
    Traceback (most recent call last):
        ...
    FileNotFoundError: No such file: none.pth
    """
    convert(options.source, options.target, options.ema)
    print(f"{options.source} -> {options.target}")
    return 0
