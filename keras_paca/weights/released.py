"""The checkpoints that the authors of PaCa-ViT released, as data (`released.csv`).

Source: the tables of the official README, github.com/iVMCL/PaCaViT; the clusters that the
segmentation files hold are those of the official configurations.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

URL = "https://github.com/iVMCL/PaCaViT/releases/download/pacavit/"
LICENCE = "code MIT; no statement on the weights; the data set's terms apply"


@dataclass(frozen=True)
class ReleasedFile:
    """One released checkpoint.

    Attributes:
        file: its name.
        task: "classification" (ImageNet-1k), "detection" (COCO) or "segmentation" (ADE20K).
        size: "tiny", "small" or "base".
        clustering: "conv", "mlp" or "teacher".
        imagenet_clusters: clusters per stage of the row in the README.
        clusters: clusters per stage that the file holds.
        blockwise: whether every block makes its own assignment, else the first of each stage.
        head: "linear", "mask_rcnn", "upernet" or "paca".
        params_m: millions of parameters, as stated.
        gmacs: billions of multiply-accumulates, as stated, for 224 x 224 (classification),
            1280 x 800 (detection) or 512 x 512 (segmentation).
        accuracy: as stated, in percent: {"top1": ...}, {"box_ap": ..., "mask_ap": ...} or
            {"miou": ...}.
        crop: share of the resized side that the evaluation keeps; `None` outside classification.
        interpolation: of the evaluation's resize; `None` outside classification.
        verified: whether the README links this file in this row; else its name was derived.
        note: what to know of the file, "" for nothing.
        licence: what is known of the licence.
        family: the name of the family of backbones.
        options: the family's options of the model in the file.
        folder: the address of the folder in which the authors publish the file.
    """

    file: str
    task: str
    size: str
    clustering: str
    imagenet_clusters: tuple[int, ...]
    clusters: tuple[int, ...]
    blockwise: bool
    head: str
    params_m: float
    gmacs: float
    accuracy: dict[str, float]
    crop: float | None
    interpolation: str | None
    verified: bool
    note: str
    licence: str = LICENCE
    family: str = "paca_vit"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    folder: str = URL

    @property
    def url(self) -> str:
        """Where the authors publish the file."""
        return self.folder + self.file

    @property
    def variant(self) -> str:
        """What the file holds, in words."""
        where = ", in every block" if self.blockwise else ""
        return f"{self.size}, clustering={self.clustering!r}, clusters={self.clusters}{where}"


@functools.cache
def released_files() -> tuple[ReleasedFile, ...]:
    """Return the released checkpoints, in the order of the README."""
    table = resources.files("keras_paca.weights").joinpath("released.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        return tuple(_parse(row) for row in csv.DictReader(lines))


def _parse(row: dict[str, str]) -> ReleasedFile:
    def integers(text: str) -> tuple[int, ...]:
        return tuple(int(number) for number in text.split())

    measures = ("top1", "box_ap", "mask_ap", "miou")
    return ReleasedFile(
        file=row["file"],
        task=row["task"],
        size=row["size"],
        clustering=row["clustering"],
        imagenet_clusters=integers(row["imagenet_clusters"]),
        clusters=integers(row["clusters"]),
        blockwise=row["blockwise"] == "yes",
        head=row["head"],
        params_m=float(row["params_m"]),
        gmacs=float(row["gmacs"]),
        accuracy={name: float(row[name]) for name in measures if row[name]},
        crop=float(row["crop"]) if row["crop"] else None,
        interpolation=row["interpolation"] or None,
        verified=row["verified"] == "yes",
        note=row["note"],
        options={
            "clustering": row["clustering"],
            "clusters": integers(row["clusters"]),
            "cluster_every": 1 if row["blockwise"] == "yes" else None,
        },
    )
