"""`keras-paca convert`: convert a file of weights."""

import argparse

from keras_paca.backbones.convert import convert


def run(options: argparse.Namespace) -> int:
    """Convert the file."""
    convert(options.source, options.target)
    print(f"{options.source} -> {options.target}")
    return 0
