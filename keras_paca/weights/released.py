"""The checkpoints that the authors of the papers released, from the tables beside this file.

`released.csv` has those of PaCa-ViT. Source: the tables of the official README,
github.com/iVMCL/PaCaViT. The numbers of clusters in the segmentation files come from the official
configurations. Each other family has a table of its own. That of RapidNet has the files at
huggingface.co/SLDGroup/RapidNet, to which the official README links; that of ViTTM has the one file
that the official README, github.com/pjjajal/EfficientTTMs, links.
"""

import csv
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

URL = "https://github.com/iVMCL/PaCaViT/releases/download/pacavit/"
LICENCE = "code MIT; no statement on the weights; the data set's terms apply"


@dataclass(frozen=True)
class ReleasedFile:
    """One released checkpoint and what its authors state about it.

    `released_files` returns those that come with the library; `register_released_file` adds one.

    Args:
        file: str. Name of the file.
        task: str. "classification" (ImageNet-1k), "detection" (COCO) or "segmentation" (ADE20K).
        size: str. The variant's size, such as "tiny", "small" or "base".
        clustering: str. "conv", "mlp" or "teacher".
        imagenet_clusters: tuple of int. Clusters per stage in this row of the README.
        clusters: tuple of int. Clusters per stage in the file.
        blockwise: bool. Whether every block computes its own cluster assignment. Otherwise the
            first block of each stage computes it for the whole stage.
        head: str. "linear", "mask_rcnn", "upernet", "paca" or "fpn".
        params_m: float. Millions of parameters, as stated by the authors.
        gmacs: float. Billions of multiply-accumulate operations, as stated by the authors, for
            224 x 224 pixels (classification), 1280 x 800 (detection) or 512 x 512 (segmentation).
        accuracy: dict. The accuracy in percent, as stated by the authors: {"top1": ...},
            {"box_ap": ..., "mask_ap": ...} or {"miou": ...}.
        crop: float or None. The share of the resized side that the evaluation keeps, in (0, 1];
            `None` except for classification.
        interpolation: str or None. The filter with which the evaluation resizes images; `None`
            except for classification.
        verified: bool. Whether the README links this file in this row, or a page that lists it.
            Otherwise its name was derived from the others.
        note: str. A remark on the file; empty if there is none.
        licence: str. What is known about the licence.
        family: str. Name of the family of backbones.
        options: dict. The options of the family that the model in the file has.
        folder: str. URL of the folder in which the authors publish the file.
        address: str. URL of the file itself, where it isn't the folder and the name.
        has_ema: bool. Whether the file is known to hold, beside the weights, the exponential moving
            average of them.
        ema: bool. Whether that average is meant rather than the weights.

    Example:
    >>> from keras_paca.weights import released_files
    >>> file = released_files()[0]
    >>> file.task, file.variant
    ('classification', "tiny, clustering='conv', clusters=(100, 100, 100, 0)")
    >>> file.accuracy
    {'top1': 80.9}
    """

    file: str
    task: str
    size: str
    clustering: str = ""
    imagenet_clusters: tuple[int, ...] = ()
    clusters: tuple[int, ...] = ()
    blockwise: bool = False
    head: str = "linear"
    params_m: float | None = None
    gmacs: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict, hash=False)
    crop: float | None = None
    interpolation: str | None = None
    verified: bool = False
    note: str = ""
    licence: str = LICENCE
    family: str = "paca_vit"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    folder: str = URL
    address: str = ""
    has_ema: bool = False
    ema: bool = False

    def __post_init__(self) -> None:
        """Complete the options of a PaCa-ViT."""
        if self.clustering:
            every = 1 if self.blockwise else None
            own = {"clustering": self.clustering, "clusters": self.clusters, "cluster_every": every}
            object.__setattr__(self, "options", {**self.options, **own})

    @property
    def url(self) -> str:
        """The URL at which the authors publish the file, a str."""
        return self.address or self.folder + self.file

    @property
    def variant(self) -> str:
        """A description of the model in the file, a str."""
        if not self.clustering:
            return ", ".join([self.size, *(f"{k}={v!r}" for k, v in self.options.items())])
        where = ", in every block" if self.blockwise else ""
        return f"{self.size}, clustering={self.clustering!r}, clusters={self.clusters}{where}"


_registered: dict[str, ReleasedFile] = {}


def register_released_file(file: ReleasedFile) -> ReleasedFile:
    """Add a released file of a family, so that its variants find it.

    Args:
        file: ReleasedFile. The file. Another one of the same name is replaced.

    Returns:
        ReleasedFile. The file.

    Example:
    >>> import dataclasses
    >>> from keras_paca.weights import register_released_file, released_files
    >>> first = released_files()[0]
    >>> register_released_file(dataclasses.replace(first, file="mine.pth", family="mine")).file
    'mine.pth'
    >>> released_files()[-1].family
    'mine'
    """
    _registered[file.file] = file
    return file


def released_files() -> tuple[ReleasedFile, ...]:
    """Return the released checkpoints, in the order of the README, then those registered.

    Returns:
        tuple of ReleasedFile.

    Example:
    >>> from keras_paca.weights import released_files
    >>> detectors = [file for file in released_files() if file.task == "detection"]
    >>> len(detectors)
    14
    >>> max(file.accuracy.get("box_ap", 0) for file in detectors)
    48.3
    """
    return (*_files_in_tables(), *_registered.values())


@functools.cache
def _files_in_tables() -> tuple[ReleasedFile, ...]:
    files: list[ReleasedFile] = []
    for name in TABLES:
        table = resources.files("keras_paca.weights").joinpath(name)
        with table.open(encoding="utf-8", newline="") as lines:
            files += (_parse(row) for row in csv.DictReader(lines))
    return tuple(files)


TABLES = ("released.csv", "released_rapidnet.csv", "released_vittm.csv")


def _parse(row: dict[str, str]) -> ReleasedFile:
    """Return a row of a table. A column that is missing or empty has its default."""
    values: dict[str, Any] = {
        name: PARSERS[name](text) for name, text in row.items() if name in PARSERS and text
    }
    measures = ("top1", "box_ap", "mask_ap", "miou")
    accuracy = {name: float(row[name]) for name in measures if row.get(name)}
    return ReleasedFile(**values, accuracy=accuracy)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split())


PARSERS: dict[str, Any] = {
    **dict.fromkeys(("file", "task", "size", "family", "head", "clustering"), str),
    **dict.fromkeys(("interpolation", "note", "licence", "folder", "address"), str),
    **dict.fromkeys(("imagenet_clusters", "clusters"), _integers),
    **dict.fromkeys(("params_m", "gmacs", "crop"), float),
    **dict.fromkeys(("blockwise", "verified", "has_ema"), lambda text: text == "yes"),
    "options": json.loads,
}
