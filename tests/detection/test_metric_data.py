"""The forms of data that COCO's metrics take, and what they refuse."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_equal

from keras_paca.detection import COCOMetrics, coco_metrics, evaluate_detections
from tests.detection.scenes import (
    SIZE,
    TWO,
    Batches,
    Oracle,
    detections,
    known,
    objects,
)
from tests.marks import slow_but_on_torch

truth = objects(TWO, [0, 1])
found = detections(TWO, [0, 1])


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


def test_images_as_models_with_one_input_take_them(scenes):
    images, targets = scenes
    model = Oracle(known(*scenes))
    expected = coco_metrics(model, scenes)
    for given in ({"image": images}, {"images": images}, [images], (images,), [*images]):
        assert_equal(coco_metrics(model, (given, targets)), expected)
        assert_equal(coco_metrics(model, [(given, targets)]), expected)
        assert_equal(coco_metrics(model, iter([[given, targets]])), expected)
        assert_equal(coco_metrics(model, [(given, targets, None)]), expected)
    for given in ({"a": images, "b": images}, {}):
        with pytest.raises(ValueError, match=r"with one\. Received: a dict of"):
            coco_metrics(model, (given, targets))


def test_each_batch_has_as_many_boxes_as_it_needs(scenes):
    images, targets = scenes
    model = Oracle(known(*scenes))
    alone = without(targets, "masks")
    more = {
        name: np.pad(array, [(0, 0), (0, 5)] + [(0, 0)] * (array.ndim - 2), constant_values=-1)
        for name, array in alone.items()
    }
    none = {"boxes": np.zeros((3, 0, 4)), "labels": np.zeros((3, 0), int)}
    expected = coco_metrics(model, [(images, alone), (images, alone)])
    assert_equal(coco_metrics(model, [(images, alone), (images, more)]), expected)
    with_none = coco_metrics(model, [(images, alone), (images, none)])
    assert with_none["box_AR100"] == expected["box_AR100"]
    assert with_none["box_mAP"] < expected["box_mAP"]  # what it finds there is wrong


def test_batches_without_objects(scenes):
    images, _ = scenes
    none = {"boxes": np.zeros((3, 0, 4)), "labels": np.zeros((3, 0), int)}
    masks = {**none, "masks": np.zeros((3, 0, *SIZE), bool)}
    maps = {**none, "masks": np.zeros((3, *SIZE), int)}
    for targets in (none, masks, maps):
        metrics = coco_metrics(Oracle(known(*scenes)), (images, targets))
        assert all(np.isnan(value) for value in metrics.values())
        assert ("mask_mAP" in metrics) == ("masks" in targets)


def test_targets_that_fit(scenes):
    """Whole floats are labels, "classes" too, lists are arrays, and others are left alone."""
    images, targets = scenes
    model = Oracle(known(*scenes))
    expected = coco_metrics(model, scenes)
    for changed in (
        {**targets, "labels": targets["labels"].astype("float32")},
        {**without(targets, "labels"), "classes": targets["labels"]},
        {**targets, "labels": targets["labels"].tolist(), "boxes": targets["boxes"].tolist()},
        {**targets, "image_id": ["a", "b"], "area": np.zeros((3, 2))},
    ):
        assert_equal(coco_metrics(model, [(images, changed)]), expected)
        assert_equal(coco_metrics(model, (images, changed)), expected)


WRONG_TARGETS = {
    "other names": {"bbox": truth["boxes"], "labels": truth["labels"]},
    "no labels": without(truth, "labels"),
    "no boxes": without(truth, "boxes"),
    "nothing": {},
    "boxes of five": {**truth, "boxes": np.zeros((1, 2, 5))},
    "boxes without batch": {**truth, "boxes": truth["boxes"][0]},
    "labels with an axis": {**truth, "labels": truth["labels"][..., None]},
    "one-hot labels": {**truth, "labels": np.zeros((1, 2, 3), int)},
    "fewer labels": {**truth, "labels": truth["labels"][:, :1]},
    "half labels": {**truth, "labels": np.array([[0.5, 1]])},
    "NaN labels": {**truth, "labels": np.array([[np.nan, 1]])},
    "boolean labels": {**truth, "labels": np.array([[True, False]])},
    "text labels": {**truth, "labels": np.array([["cat", "dog"]])},
    "masks of half the size": {**truth, "masks": truth["masks"][:, :, ::2, ::2]},
    "masks turned": {**truth, "masks": truth["masks"].transpose(0, 1, 3, 2)},
    "masks last": {**truth, "masks": np.moveaxis(truth["masks"], 1, -1)},
    "one mask": {**truth, "masks": truth["masks"][:, :1]},
    "map of 0 and 255": {**truth, "masks": np.full((1, *SIZE), 255)},
    "map of fractions": {**truth, "masks": np.full((1, *SIZE), 0.5)},
    "NaN in a box": {**truth, "boxes": np.array([[TWO[0], [np.nan, 1, 2, 3]]])},
    "no array": {**truth, "boxes": None},
    "ragged": {**truth, "boxes": [[TWO[0]], TWO]},
}


@pytest.mark.parametrize("name", WRONG_TARGETS)
def test_targets_that_do_not_fit(name):
    wrong = WRONG_TARGETS[name]
    model = Oracle([])
    for call in (
        lambda: evaluate_detections(wrong, found, SIZE),
        lambda: coco_metrics(model, (np.zeros((1, *SIZE, 3)), wrong)),
        lambda: coco_metrics(model, [(np.zeros((1, *SIZE, 3)), wrong)]),
    ):
        with pytest.raises(ValueError, match=r"boxes|labels|instance maps") as refusal:
            call()
        assert "\n" not in str(refusal.value)
    assert not model.sizes  # nothing was predicted


def test_what_was_received_is_named():
    with pytest.raises(ValueError, match=r"boxes \(batch, n, 4\).*Received: bbox \(1, 2, 4\), lab"):
        evaluate_detections(WRONG_TARGETS["other names"], found, SIZE)
    data = [(np.zeros((1, *SIZE, 3)), WRONG_TARGETS["boxes of five"])]
    with pytest.raises(ValueError, match=r"targets in `data`.*Received: boxes \(1, 2, 5\)"):
        coco_metrics(Oracle([]), data)
    with pytest.raises(ValueError, match=r"`truth` must be a dict.*Received: a tuple of ndarray"):
        evaluate_detections((truth["boxes"], truth["labels"]), found, SIZE)


def test_labels_that_count_from_1(scenes):
    """Fewer classes than labels: `num_classes` of `evaluate_detections` leaves some out instead."""
    images, targets = scenes
    for data in ((images, {**targets, "labels": targets["labels"] + 1}), [scenes]):
        model = Oracle(known(*scenes), num_classes=3 if isinstance(data, tuple) else 2)
        with pytest.raises(ValueError, match=r"count from 0 and be less .*`num_classes`, [23]\."):
            coco_metrics(model, data)
        assert not model.sizes
        callback = COCOMetrics(data)
        callback.set_model(model)
        with pytest.raises(ValueError, match="count from 0"):
            callback.on_train_begin()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        without(found, "scores"),
        {**found, "scores": found["scores"][..., None]},
        {**found, "boxes": np.zeros((1, 4, 5))},
        {**found, "masks": np.zeros((1, 4, 28))},
        {**found, "masks": np.zeros((1, 2, 28, 28))},
        {**found, "labels": found["labels"] + 0.5},
        {**found, "scores": found["scores"] * np.nan},
        {**found, "boxes": found["boxes"] + np.inf},
        [found],
        None,
    ],
)
def test_detections_that_do_not_fit(wrong, scenes):
    with pytest.raises(ValueError, match="`detections`"):
        evaluate_detections(truth, wrong, SIZE)
    model = Oracle([])
    model.predict_on_batch = lambda images: wrong
    with pytest.raises(ValueError, match=r"[Tt]he model's predictions"):
        coco_metrics(model, (scenes[0][:1], truth))


def test_other_arguments_of_evaluate_detections():
    for size in ((60, 80, 3), 60, None, "60", (60.5, 80)):
        with pytest.raises(ValueError, match="`image_size` must be"):
            evaluate_detections(truth, found, size)
    for name in ("coco", "rel_center_yxhw", None):
        with pytest.raises(ValueError, match="`bounding_box_format` must be one of"):
            evaluate_detections(truth, found, SIZE, name)
    for number in (0, 1.5, "3"):
        with pytest.raises(ValueError, match="`num_classes` must be"):
            evaluate_detections(truth, found, SIZE, num_classes=number)


def test_data_of_other_forms(scenes):
    images, targets = scenes
    model = Oracle(known(*scenes))
    for data, words in (
        ({"images": images, "bounding_boxes": targets}, "dict of images, bounding_boxes"),
        ([{"images": images, "bounding_boxes": targets}], "dict of images, bounding_boxes"),
        ([(images, targets, np.ones(3))], "a tuple of ndarray, dict, ndarray; there are no we"),
        ([images], "Each batch must be a pair.*ndarray"),
        ("images", "str"),
        (None, "NoneType"),
        (lambda: scenes, "function"),
        ([(images[0], {})], r"images of shape \(60, 80, 3\)"),
        ((images[..., 0], targets), r"images of shape \(3, 60, 80\)"),
        (([images[0], images[1][:9]], {}), "`images` must be an array"),
        ([(images[:2], targets)], "2 images and targets of 3"),
        ((images[:2], targets), "as many targets as images"),
        ([], "at least one image"),
        ((images[:0], {k: v[:0] for k, v in targets.items()}), "at least one image"),
    ):
        with pytest.raises(ValueError, match=words):
            coco_metrics(model, data)
    for size in (0, 1.5, "8", None, True):
        with pytest.raises(ValueError, match="`batch_size` must be"):
            coco_metrics(model, scenes, size)


def test_data_without_end(scenes):
    class Endless(Batches):
        @property
        def num_batches(self):
            return None

    class Repeated:
        def cardinality(self):
            return -1

        def __iter__(self):
            raise AssertionError("it has no end")

    for data in (Endless(*scenes), Repeated()):
        with pytest.raises(ValueError, match="Expected data that end"):
            coco_metrics(Oracle([]), data)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a DataLoader needs PyTorch")
def test_data_loader(scenes):
    """It collates targets to tensors, and batches to lists."""
    import torch

    images, targets = scenes
    model = Oracle(known(*scenes))
    items = [(image, {k: v[i] for k, v in targets.items()}) for i, image in enumerate(images)]
    loader = torch.utils.data.DataLoader(items, batch_size=2)
    expected = coco_metrics(model, scenes)
    assert_equal(coco_metrics(model, loader), expected)
    metrics = COCOMetrics(loader)
    metrics.set_model(model)
    for _ in range(2):
        logs = {}
        metrics.on_epoch_end(0, logs)
        assert_equal(logs, {f"val_{name}": value for name, value in expected.items()})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data needs TensorFlow")
def test_tf_data(scenes):
    """Batches, padded ones too; endless and unbatched data are refused."""
    import tensorflow as tf

    model = Oracle(known(*scenes))
    expected = coco_metrics(model, scenes)
    data = tf.data.Dataset.from_tensor_slices(scenes)
    assert_equal(coco_metrics(model, data.batch(2)), expected)
    assert_equal(coco_metrics(model, data.map(lambda x, y: ({"image": x}, y)).batch(3)), expected)
    with pytest.raises(ValueError, match="Expected data that end"):
        coco_metrics(model, data.batch(2).repeat())
    with pytest.raises(ValueError, match=r"images of shape \(60, 80, 3\)"):
        coco_metrics(model, data)


@slow_but_on_torch
def test_callback_refuses_before_training(scenes, small):
    """Neither a model nor data that don't fit wait for the end of the first epoch."""
    images, targets = scenes
    for model, data, words in (
        (small(), scenes, "Expected a detector"),
        (Oracle(known(*scenes)), [(images, without(targets, "labels"))], "targets in `data`"),
        (Oracle(known(*scenes)), [], "at least one image"),
    ):
        callback = COCOMetrics(data)
        callback.set_model(model)
        with pytest.raises(ValueError, match=words):
            callback.on_train_begin()
    callback = COCOMetrics(Batches(*scenes))
    callback.set_model(Oracle(known(*scenes)))
    callback.on_train_begin()
    for wrong in ({"every": 0}, {"every": 1.5}, {"every": True}, {"batch_size": "8"}):
        with pytest.raises(ValueError, match="an integer of 1 or more"):
            COCOMetrics(scenes, **wrong)
