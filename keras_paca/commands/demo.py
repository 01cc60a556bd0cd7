"""`keras-paca demo`: learn handwritten digits, predict, explain, export."""

import argparse

from keras_paca.demo import run_demo


def run(options: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        ImportError: If a package that the demo needs is missing.
        ValueError: If `--output` is a file.
        RuntimeError: If a step doesn't give what it should.

    Example:
    >>> import tempfile
    >>> from keras_paca_cli import parse
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     run(parse(["demo", "--output", file.name]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: `output` must be a folder. Received a file: ...
    """
    run_demo(options.output)
    return 0
