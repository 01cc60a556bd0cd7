"""The names of classes."""

from keras_paca.detection import (
    coco_classes,
)


def test_classes_of_coco():
    names = coco_classes()
    assert (len(set(names)), names[0], names[79]) == (80, "person", "toothbrush")
