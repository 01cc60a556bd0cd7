"""The 150 classes of ADE20K's scene parsing benchmark and the colours they are drawn in."""

import csv
import functools
from importlib import resources


def ade20k_classes() -> list[str]:
    """Return the names of the classes, by id.

    The data set's files number them from 1, with 0 for no class: subtract 1, so that 0 becomes
    255 in uint8, the `ignore_class` of the segmenters.
    """
    return [name for name, _ in _table()]


def ade20k_palette() -> dict[int, list[int]]:
    """Return the customary colour of each class, {id: [red, green, blue] in 0..255}."""
    return {number: list(colour) for number, (_, colour) in enumerate(_table())}


@functools.cache
def _table() -> tuple[tuple[str, tuple[int, ...]], ...]:
    table = resources.files("keras_paca.segmentation").joinpath("ade20k.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        return tuple(
            (row["name"], tuple(int(row[c]) for c in ("red", "green", "blue")))
            for row in csv.DictReader(lines)
        )
