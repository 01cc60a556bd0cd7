"""This library's warnings, which show the line of the user's program that they are about."""

import os
import sys
import warnings
from pathlib import Path


class KerasPaCaWarning(UserWarning):
    """A warning of this library, so that a filter can tell it from those of other libraries.

    Example:
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("error")
    ...     warnings.simplefilter("ignore", KerasPaCaWarning)
    ...     warn_user("The head keeps its initial values.")
    >>> caught
    []
    """


def warn_user(message: str) -> None:
    """Issue a `KerasPaCaWarning` at the nearest line outside this library and Keras.

    Args:
        message: str. What the warning says.

    Example:
    >>> import warnings
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
    warnings.warn(message, KerasPaCaWarning, stacklevel=level)
