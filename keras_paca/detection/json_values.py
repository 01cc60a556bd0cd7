"""Values of a JSON file: what kind they are, and how a message shows them."""

import json
import math
from typing import Any

LONGEST = 60  # characters


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; booleans and texts aren't."""
    return type(value) in (int, float) and -1e300 < value < 1e300


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer, also where it is written as 5.0."""
    return type(value) is int or (type(value) is float and math.isfinite(value) and value % 1 == 0)


def show(value: Any) -> str:
    """Return a value as JSON writes it, shortened.

    Example:
    >>> show({"height": None})
    '{"height": null}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
