"""`keras-paca benchmark`: latency, memory and size of a model in each runtime."""

import argparse

from keras_paca.commands.deployed import default_size, image_size, in_words_of_options
from keras_paca.commands.opening import check_images, open_model
from keras_paca.deploy import benchmark


def run(options: argparse.Namespace) -> int:
    """Measure the model and print a table.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If an option or the model isn't suitable.
        RuntimeError: If the model or an exported file doesn't run.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["benchmark", "none.keras"]))
    Traceback (most recent call last):
        ...
    FileNotFoundError: No such model: none.keras
    """
    size = image_size(options)
    model = open_model(options)
    check_images(model, options)
    with in_words_of_options():
        benchmark(model, image_size=size or default_size(model), batch_size=options.batch_size)
    return 0
