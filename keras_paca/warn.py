"""Warnings that show the line of the user's program that they are about."""

import os
import sys
import warnings
from pathlib import Path


def warn_user(message: str) -> None:
    """Warn at the nearest line outside this library and Keras.

    Args:
        message: str. What to say.
    """
    files = (__file__, sys.modules["keras"].__file__)
    packages = tuple(f"{Path(file).parent}{os.sep}" for file in files)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(packages):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
