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


class FreshWeightsWarning(KerasPaCaWarning):
    """A part of a model keeps its initial values, because the file that was loaded lacks it.

    Example:
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", FreshWeightsWarning)
    ...     warn_user("The head keeps its initial values.", FreshWeightsWarning)
    Traceback (most recent call last):
      ...
    keras_paca.warn.FreshWeightsWarning: The head keeps its initial values.
    """


def warn_user(message: str, category: type[KerasPaCaWarning] = KerasPaCaWarning) -> None:
    """Issue a warning at the nearest line outside this library and Keras.

    Args:
        message: str. What the warning says.
        category: type. The class of the warning.

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
    warnings.warn(message, category, stacklevel=level)
