"""The names of classes."""

from keras_paca import segmentation
from keras_paca.detection import (
    coco_classes,
)
from tests.marks import slow_but_on_torch


def test_classes_of_coco():
    names = coco_classes()
    assert (len(set(names)), names[0], names[79]) == (80, "person", "toothbrush")


@slow_but_on_torch
def test_classes_of_ade20k():
    names, palette = segmentation.ade20k_classes(), segmentation.ade20k_palette()
    assert (len(names), names[0], names[149]) == (150, "wall", "flag")
    assert len(palette) == 150
    assert palette[2] == [6, 230, 230]
