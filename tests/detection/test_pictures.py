"""Pictures of what a detector found."""

import numpy as np
import pytest

from keras_paca.detection import (
    coco_classes,
    plot_detections,
)
from keras_paca.detection.box_formats import BOX_FORMATS
from tests.detection.predictions import SIZE, found, without
from tests.detection.scenes import scene
from tests.marks import slow_but_on_torch


@slow_but_on_torch
def test_pictures(detector, tmp_path):
    images, _ = scene(3, 48, 64)
    found = detector().predict(images, verbose=0)
    for options in ({}, {"class_names": coco_classes(), "score_threshold": 0.0, "columns": 2}):
        plot_detections(images, found, path=tmp_path / "found.png", **options)
        assert (tmp_path / "found.png").stat().st_size > 1000
    boxes = {name: found[name] for name in ("boxes", "scores", "labels")}  # of another detector
    (axis, *_) = plot_detections(images, boxes, score_threshold=0.0).axes
    assert len(axis.patches) == found["count"][0] > 0


@slow_but_on_torch
@pytest.mark.parametrize("kind", BOX_FORMATS)
def test_pictures_in_all_formats(kind):
    image = np.full((1, *SIZE, 3), 100, "uint8")
    expected = plot_detections(image, found()).axes[0]
    (axis,) = plot_detections(image, found(kind), bounding_box_format=kind).axes
    np.testing.assert_array_equal(axis.images[0].get_array(), expected.images[0].get_array())
    for ours, theirs in zip(axis.patches, expected.patches, strict=True):
        np.testing.assert_allclose(ours.get_bbox().extents, theirs.get_bbox().extents, atol=1e-4)


def test_pictures_need_no_masks():
    (axis,) = plot_detections(np.full((1, *SIZE, 3), 9), without(found(), "masks", "count")).axes
    assert len(axis.patches) == 2


@slow_but_on_torch
def test_wrong_arguments_of_pictures(tmp_path):
    image = np.full((1, *SIZE, 3), 9)
    for images in (image[0], image[..., :1], image[:0], np.moveaxis(image, 3, 1)):
        with pytest.raises(ValueError, match="`images` must have the shape"):
            plot_detections(images, found())
    for images in (image / 255, image / 9 - 0.5, np.full((1, *SIZE, 3), np.nan), image > 3):
        with pytest.raises(ValueError, match=r"`images` must be RGB in 0\.\.255"):
            plot_detections(images, found())
    plot_detections(0.0 * image, found())
    with pytest.raises(ValueError, match="2 images and predictions for 1"):
        plot_detections(np.repeat(image, 2, axis=0), found())
    for options, error, words in (
        ({"score_threshold": 50}, ValueError, "`score_threshold` must be"),
        ({"score_threshold": None}, ValueError, "`score_threshold` must be"),
        ({"columns": 0}, ValueError, "`columns` must be"),
        ({"columns": 1.5}, ValueError, "`columns` must be"),
        ({"class_names": ["cat"]}, ValueError, "1 names, and predictions with the label 1"),
        ({"class_names": {0: "cat"}}, ValueError, "with the label 1"),
        ({"class_names": "cat"}, ValueError, "`class_names` must be"),
        ({"class_names": 5}, ValueError, "`class_names` must be"),
        ({"bounding_box_format": "coco"}, ValueError, "must be one of"),
        ({"path": tmp_path / "none" / "a.png"}, FileNotFoundError, "No such folder"),
        ({"path": tmp_path / "a.xyz"}, ValueError, "ends in one of .*png"),
        ({"path": tmp_path}, ValueError, "`path` must be a file"),
    ):
        with pytest.raises(error, match=words):
            plot_detections(image, found(), **options)
    for names in (coco_classes(), {0: "cat", 1: "dog"}, np.array(["cat", "dog"])):
        (axis,) = plot_detections(image, found(), names, path=tmp_path / "a.png").axes
        assert axis.texts[1].get_text() == f"{names[0]} 0.80"
    (axis,) = plot_detections(image, found(), ["cat", "dog"], score_threshold=0.85).axes
    assert len(axis.patches) == 1
