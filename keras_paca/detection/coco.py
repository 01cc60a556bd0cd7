"""The 80 classes of COCO."""

import functools
from importlib import resources


def coco_classes() -> list[str]:
    """Return the names of the classes, by the detectors' labels from 0 to 79."""
    return list(_names())


@functools.cache
def _names() -> tuple[str, ...]:
    table = resources.files("keras_paca.detection").joinpath("coco.csv")
    return tuple(table.read_text(encoding="utf-8").splitlines()[1:])
