"""`keras-paca models`: list the models of all families."""

import argparse
import csv
import json
import sys
from typing import Any

from keras_paca.models import ListedModel, list_models, similar_names


def run(options: argparse.Namespace) -> int:
    """Print the models that fit a pattern, as a table, JSON or CSV.

    Args:
        options: argparse.Namespace. The options of the command.

    Returns:
        int. The exit status, 0.

    Raises:
        ValueError: If no name fits the pattern.

    Example:
    >>> from keras_paca_cli import parse
    >>> run(parse(["models", "paca_tiny"]))  # doctest: +ELLIPSIS
    name       parameters  ...
    paca_tiny  12.2 M      ...
    0
    """
    found = list_models(options.pattern)
    if not found:
        near = similar_names(options.pattern)
        hint = f" Similar names: {', '.join(near)}." if near else ""
        raise ValueError(
            "PATTERN must fit the name of a model, such as 'rapidnet*'; `keras-paca models` lists "
            f"all.{hint} Received: {options.pattern}"
        )
    rows = [_row(model) for model in found]
    if options.json:
        print(json.dumps(rows, indent=2))
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        print(found)
    return 0


def _row(model: ListedModel) -> dict[str, Any]:
    """Return what is known about a model, as plain values."""
    height, width = model.image_size or (None, None)
    stated = {name: model.accuracy.get(name) for name in ("top1", "miou", "box_ap", "mask_ap")}
    return {
        **{name: getattr(model, name) for name in ("name", "family", "task", "parameters", "macs")},
        "height": height,
        "width": width,
        **stated,
        "weights": model.weights,
        "licence": model.licence,
    }
