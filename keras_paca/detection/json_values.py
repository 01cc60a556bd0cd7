"""Functions that check the values in a JSON file and show them in messages."""

import json
import math
from typing import Any

LONGEST = 60  # characters of a value in a message


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number. Booleans and strings are none.

    Args:
        value: Any. A value from a JSON file.

    Returns:
        bool. Whether it is a finite number.

    Example:
    >>> is_number(0.5), is_number(True)
    (True, False)
    """
    return type(value) in (int, float) and -1e300 < value < 1e300


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number, which may be written as 5.0.

    Args:
        value: Any. A value from a JSON file.

    Returns:
        bool. Whether it is a whole number.

    Example:
    >>> is_whole(5.0), is_whole(5.5)
    (True, False)
    """
    return type(value) is int or (type(value) is float and math.isfinite(value) and value % 1 == 0)


def show(value: Any) -> str:
    """Return a value in JSON, shortened for messages.

    Args:
        value: Any. A value from a JSON file.

    Returns:
        str. At most 60 characters of JSON.

    Example:
    >>> show({"height": None})
    '{"height": null}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
