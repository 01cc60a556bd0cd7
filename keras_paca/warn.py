"""Warnings that show the line of the user's program that they are about."""

import sys
import warnings
from pathlib import Path


def warn_user(message: str) -> None:
    """Warn at the nearest line outside this library and Keras.

    Args:
        message: str. What to say.
    """
    packages = (str(Path(__file__).parent), str(Path(sys.modules["keras"].__file__).parent))
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(packages):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
