"""The class names of the data sets that released weights were trained on; nothing is downloaded."""

import csv
import functools
from importlib import resources


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the (WordNet id, name) of ImageNet-1k's 1,000 classes, in the order of the indices.

    Two names occur twice, "crane" (134, a bird; 517, a machine) and "maillot" (638, 639): the ids
    tell them apart.

    Source: the first WordNet lemma of each class, spaces as underscores; the same as the
    `imagenet_class_index.json` of `keras.applications`.

    Example:
    >>> imagenet_classes()[207]
    ('n02099601', 'golden_retriever')
    """
    rows = _table("imagenet.tsv").splitlines()
    return tuple(tuple(row.split("\t")) for row in rows)


def coco_classes() -> list[str]:
    """Return the names of COCO's 80 classes, by the detectors' labels from 0 to 79.

    Example:
    >>> coco_classes()[16]
    'dog'
    """
    return _table("coco.csv").splitlines()[1:]


def ade20k_classes() -> list[str]:
    """Return the names of the 150 classes of ADE20K's scene parsing benchmark, by id.

    The data set's files number the classes from 1, with 0 for no class. Subtract 1, so that 0
    becomes 255 in uint8, which is the `ignore_class` of the segmenters.

    Example:
    >>> ade20k_classes()[2]
    'sky'
    """
    return [row["name"] for row in _ade20k()]


def ade20k_palette() -> dict[int, list[int]]:
    """Return the customary colour of each ADE20K class, {id: [red, green, blue] in 0..255}.

    Example:
    >>> ade20k_palette()[2]
    [6, 230, 230]
    """
    colours = ("red", "green", "blue")
    return {number: [int(row[c]) for c in colours] for number, row in enumerate(_ade20k())}


def _ade20k() -> list[dict[str, str]]:
    return list(csv.DictReader(_table("ade20k.csv").splitlines()))


def _table(name: str) -> str:
    return resources.files("keras_paca.labels").joinpath(name).read_text(encoding="utf-8")
