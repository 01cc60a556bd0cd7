"""The class names of ImageNet, COCO and ADE20K, which come with the package."""

import csv
import functools
from importlib import resources


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the WordNet ids and the names of the 1,000 classes of ImageNet-1k.

    Two names occur twice: "crane" (134 is a bird, 517 a machine) and "maillot" (638 and 639). Their
    ids differ.

    Returns:
        tuple of (str, str). The (WordNet id, name) of each class, in the order of the class
        indices.

    Example:
    >>> from keras_paca.labels import imagenet_classes
    >>> imagenet_classes()[207]
    ('n02099601', 'golden_retriever')

    Source: the first WordNet lemma of each class, with underscores for spaces, as in the
    `imagenet_class_index.json` of `keras.applications`.
    """
    rows = _table("imagenet.tsv").splitlines()
    return tuple(tuple(row.split("\t")) for row in rows)


def coco_classes() -> list[str]:
    """Return the names of the 80 classes of COCO.

    Returns:
        list of str. The name of each class, in the order of the detectors' labels from 0 to 79.

    Example:
    >>> from keras_paca.labels import coco_classes
    >>> coco_classes()[16]
    'dog'
    """
    return _table("coco.csv").splitlines()[1:]


def ade20k_classes() -> list[str]:
    """Return the names of the 150 classes of ADE20K's scene parsing benchmark.

    In the files of the data set the classes are numbered from 1, and 0 means no class. Subtract 1
    from them to get the ids. In uint8, 0 becomes 255, which is the `ignore_class` of the
    segmenters.

    Returns:
        list of str. The name of each class, in the order of the ids from 0 to 149.

    Example:
    >>> from keras_paca.labels import ade20k_classes
    >>> ade20k_classes()[2]
    'sky'
    """
    return [row["name"] for row in _ade20k()]


def ade20k_palette() -> dict[int, list[int]]:
    """Return the customary colour of each class of ADE20K.

    Returns:
        dict. {id: [red, green, blue]}, the ids from 0 to 149 and the colours in 0..255.

    Example:
    >>> from keras_paca.labels import ade20k_palette
    >>> ade20k_palette()[2]
    [6, 230, 230]
    """
    colours = ("red", "green", "blue")
    return {number: [int(row[c]) for c in colours] for number, row in enumerate(_ade20k())}


def _ade20k() -> list[dict[str, str]]:
    return list(csv.DictReader(_table("ade20k.csv").splitlines()))


def _table(name: str) -> str:
    return resources.files("keras_paca.labels").joinpath(name).read_text(encoding="utf-8")
