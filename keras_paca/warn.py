"""Warnings that point to the line of the user's program that caused them."""

import os
import sys
import warnings
from pathlib import Path


def warn_user(message: str) -> None:
    """Give a warning that points to the innermost call from outside this library and Keras.

    Args:
        message: str. The text of the warning.

    Example:
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_user("The head keeps its initial values.")
    >>> print(caught[0].message)
    The head keeps its initial values.
    """
    files = (__file__, sys.modules["keras"].__file__)
    packages = tuple(f"{Path(file).parent}{os.sep}" for file in files)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(packages):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
