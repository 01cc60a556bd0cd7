"""Masks and boxes laid into images: every format of boxes, and what is refused."""

import numpy as np
import pytest

from keras_paca.detection import paste_masks, plot_detections
from keras_paca.detection.box_formats import BOX_FORMATS
from tests.detection.predictions import BOXES, SIZE, found, without


@pytest.mark.parametrize("kind", BOX_FORMATS)
def test_formats(kind):
    expected = paste_masks(found(), SIZE)[0]
    assert expected[0].sum() > 700
    assert expected[1].sum() > 140
    for name in (kind, kind.upper()):
        (masks,) = paste_masks(found(kind), SIZE, bounding_box_format=name)
        np.testing.assert_array_equal(masks, expected)


def test_predictions_without_count():
    """The labels say then how many there are, with a gap too."""
    (masks,) = paste_masks(without(found(), "count"), SIZE)
    np.testing.assert_array_equal(masks, paste_masks(found(), SIZE)[0])
    gap = without(found(labels=np.array([[1, -1, 0]])), "count")
    (masks,) = paste_masks(gap, SIZE)
    assert masks.shape == (3, *SIZE)
    (masks,) = paste_masks(without(found(), "labels", "scores"), SIZE)
    assert masks.shape == (2, *SIZE)
    none = without(found(labels=np.full((1, 3), -1)), "count")
    assert paste_masks(none, SIZE)[0].shape == (0, *SIZE)
    empty = {"boxes": np.zeros((2, 0, 4)), "masks": np.zeros((2, 0, 9, 9)), "count": [0, 0]}
    assert [m.shape for m in paste_masks(empty, SIZE)] == [(0, *SIZE)] * 2


def test_threshold_of_zero_stays_in_the_box():
    (masks,) = paste_masks(found(), SIZE, threshold=0)
    assert masks[0].any()
    assert not masks[0, :, 40:].any()
    assert not paste_masks(found(), SIZE, threshold=1)[0][:, 0].all()


def test_boxes_that_can_not_be_of_the_format():
    """Where the boxes show it, the wrong format is refused; padding isn't looked at."""
    for kind, given in (
        ("xyxy", "rel_xyxy"),
        ("rel_xyxy", "xyxy"),
        ("rel_xywh", "xywh"),
        ("xywh", "xyxy"),
        ("xywh", "rel_center_xywh"),
        ("center_xywh", "xyxy"),
        ("rel_yxyx", "center_yxhw"),
    ):
        for call in (
            lambda kind=kind, given=given: paste_masks(
                found(kind), SIZE, bounding_box_format=given
            ),
            lambda kind=kind, given=given: plot_detections(
                np.full((1, *SIZE, 3), 9), found(kind), bounding_box_format=given
            ),
        ):
            with pytest.raises(ValueError, match=f"'{given}'.*`bounding_box_format`"):
                call()
    wrong = found()
    wrong["boxes"][0, 1] = [50, 0, 10, 20]
    with pytest.raises(ValueError, match="some end to the left"):
        paste_masks(wrong, SIZE)
    wrong["boxes"][0, 1] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        paste_masks(wrong, SIZE)
    padded = found()
    padded["boxes"][0, 2] = [50, 40, 10, np.nan]
    assert len(paste_masks(padded, SIZE)[0]) == 2
    padded["boxes"][0, :2] = [[0, 0, 0, 0], [0, 0, 0, 9]]  # no area: an untrained model's
    assert not paste_masks(padded, SIZE)[0][0].any()


def test_wrong_arguments_of_paste_masks():
    good = found()
    for name in ("rel_center_yxhw", "coco", "", None, 4):
        with pytest.raises(ValueError, match=r"must be one of xyxy, yxyx.*rel_center_xywh"):
            paste_masks(good, SIZE, bounding_box_format=name)
    for size in ((40, 60, 3), 40, (40,), (40.5, 60), ("40", "60"), None, (0, 60), "xy",
                 np.zeros((40, 60, 3)), good):  # fmt: skip
        with pytest.raises(ValueError, match="`image_size` must be") as refusal:
            paste_masks(good, size)
        assert "\n" not in str(refusal.value)
    for threshold in (-0.1, 1.1, 50, np.nan, "0.5", None, True):
        with pytest.raises(ValueError, match="`threshold` must be"):
            paste_masks(good, SIZE, threshold)
    for size in (np.array(SIZE), list(SIZE), tuple(map(np.int64, SIZE))):
        assert len(paste_masks(good, size)[0]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        without(found(), "boxes"),
        without(found(), "masks"),
        without(found(), "count", "labels"),
        {"bbox": BOXES},
        {},
        found(boxes=BOXES[0]),
        found(boxes=np.zeros((1, 3, 5))),
        found(masks=np.zeros((1, 2, 28, 28))),
        found(masks=np.zeros((1, 3, 28, 28, 1))),
        found(count=np.array([2, 2])),
        found(count=np.array([4])),
        found(count=np.array([-1])),
        found(labels=np.zeros((1, 2))),
        found(scores=np.zeros((1, 3, 1))),
        [found()],
        (64, 64),
        None,
    ],
)
def test_wrong_predictions(wrong):
    for call in (
        lambda: paste_masks(wrong, SIZE),
        lambda: plot_detections(np.full((1, *SIZE, 3), 9), wrong),
    ):
        if isinstance(wrong, dict) and set(wrong) == set(without(found(), "masks")):
            continue
        with pytest.raises(ValueError, match="`predictions` must") as refusal:
            call()
        assert "\n" not in str(refusal.value)


def test_pasted_masks():
    grid = np.zeros((1, 2, 28, 28), "float32")
    grid[:, :, 14:] = 1
    predictions = {
        "boxes": np.array([[[4, 8, 32, 36], [0, 0, 0, 0]]], "float32"),
        "masks": grid,
        "count": np.array([1]),
    }
    (found,) = paste_masks(predictions, (40, 50))
    assert found.shape == (1, 40, 50)
    expected = np.zeros((40, 50), bool)
    expected[22:36, 4:32] = True
    np.testing.assert_array_equal(found[0], expected)
