"""The `keras-paca` command: it runs the command that was typed and shows errors and warnings."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from keras_paca import commands
from keras_paca.warn import KerasPaCaWarning
from keras_paca_cli import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: sequence of str. The command line, by default that of this process.

    Returns:
        int. The exit status: 0, or 1 after an error, 130 after an interruption.

    Raises:
        SystemExit: If the usage is wrong, with the exit status 2, or help was asked for.

    Example:
    >>> main(["convert", "none.pth", "model.keras"])  # prints "keras-paca: No such file: none.pth"
    1
    """
    return run(parse(arguments))


def run(options: argparse.Namespace) -> int:
    """Run a parsed command and print its errors and warnings, one line each.

    Args:
        options: argparse.Namespace. What `keras_paca_cli.parse` returns.

    Returns:
        int. The exit status: 0, or 1 after an error, 130 after an interruption.

    Example:
    >>> options = parse(["convert", "none.pth", "model.keras"])
    >>> run(options)  # prints "keras-paca: No such file: none.pth"
    1
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            # imported only now: each command imports what it needs
            command = import_module(f"{commands.__name__}.{options.command}")
            return command.run(options)
    except KeyboardInterrupt:
        print("keras-paca: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `keras-paca weights | head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        if os.environ.get("KERAS_PACA_TRACEBACK"):
            raise
        print(f"keras-paca: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def _show_warning(message: Any, category: type, *place: Any, **more: Any) -> None:
    """Print this library's warnings as errors are printed; those of others are for programmers."""
    if issubclass(category, KerasPaCaWarning):
        print(f"keras-paca: warning: {' '.join(str(message).split())}", file=sys.stderr)
