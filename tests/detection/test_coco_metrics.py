"""COCO's metrics: by hand, through a model, in training, from files."""

import math
import sys

import keras
import numpy as np
import pytest

from keras_paca.detection import (
    COCOMetrics,
    coco_metrics,
    evaluate_detections,
)
from tests.detection.scenes import SIZE, TWO, Batches, Oracle, convert, detections, known, objects
from tests.marks import slow_but_on_torch


def test_perfect_detections():
    metrics = evaluate_detections(objects(TWO, [0, 2]), detections(TWO, [0, 2]), SIZE)
    names = ["mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large"]
    names += ["AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"]
    assert list(metrics) == [f"{kind}_{name}" for kind in ("box", "mask") for name in names]
    for name, value in metrics.items():
        if name.endswith(("small", "large")):
            assert math.isnan(value)  # both are medium
        else:
            assert value == pytest.approx(1)


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        # Of two objects one is found: precision 1 at the 51 of 101 recalls up to 0.5.
        ([TWO[0]], [1], {"mAP": 51 / 101, "mAP50": 51 / 101, "AR100": 0.5}),
        # A wrong one ranks first: precision 1/2 at 51 recalls, then 2/3 everywhere.
        ([[0, 0, 9, 9], *TWO], [1, 1, 1], {"mAP": 2 / 3, "AR1": 0, "AR100": 1}),
        (TWO, [0, 0], {"mAP": 0, "AR100": 0}),
        ([], [], {"mAP": 0, "mAP75": 0, "AR100": 0}),
        # 30 x 24 of 30 x 40 and 32 x 24 of 32 x 40 pixels: 0.6 counts at 0.5, 0.55 and 0.6.
        ([[4, 6, 34, 30], [40, 10, 72, 34]], [1, 1], {"mAP": 0.3, "mAP50": 1, "mAP75": 0}),
    ],
    ids=["one of two", "wrong one first", "other class", "none", "overlap of 0.6"],
)
def test_by_hand(boxes, labels, expected):
    metrics = evaluate_detections(objects(TWO, [1, 1]), detections(boxes, labels), SIZE)
    for kind in ("box", "mask"):
        for name, value in expected.items():
            assert metrics[f"{kind}_{name}"] == pytest.approx(value, abs=1e-6), (kind, name)


def test_masks_decide_for_themselves():
    """Right boxes with empty masks."""
    found = detections(TWO, [1, 1])
    found["masks"][...] = 0
    metrics = evaluate_detections(objects(TWO, [1, 1]), found, SIZE)
    assert (metrics["box_mAP"], metrics["mask_mAP"]) == (pytest.approx(1), 0)


def test_kinds_of_masks():
    truth, found = objects(TWO, [0, 1]), detections(TWO, [0, 0])
    expected = evaluate_detections(truth, found, SIZE)
    numbers = np.array([1, 2])[:, None, None]
    for masks in (
        truth["masks"].astype("uint8"),
        (truth["masks"] * numbers).sum(axis=1).astype("int32"),
    ):
        np.testing.assert_equal(
            evaluate_detections({**truth, "masks": masks}, found, SIZE), expected
        )
    del truth["masks"]
    alone = evaluate_detections({"classes": truth.pop("labels"), **truth}, found, SIZE)
    assert alone == pytest.approx({k: v for k, v in expected.items() if "box" in k}, nan_ok=True)


@pytest.mark.parametrize("kind", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats_of_boxes(kind):
    truth, found = objects(TWO, [1, 1]), detections(TWO[:1], [1])
    expected = evaluate_detections(truth, found, SIZE)
    for arrays in (truth, found):
        boxes = convert(arrays["boxes"], "xyxy", kind, *SIZE)
        arrays["boxes"] = keras.ops.convert_to_numpy(boxes)
    metrics = evaluate_detections(truth, found, SIZE, bounding_box_format=kind)
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_what_is_no_object():
    """Padding, unknown classes, boxes outside the image or the wrong way round."""
    boxes = [*TWO, [90, 5, 99, 9], [30, 20, 10, 40], TWO[0]]
    truth = objects(boxes, [0, 2, 1, 1, 3])
    metrics = evaluate_detections(truth, detections(TWO, [0, 2]), SIZE, num_classes=3)
    assert metrics["box_mAP"] == metrics["mask_mAP"] == pytest.approx(1)
    truth["labels"][:] = -1
    for found in (detections(TWO, [0, 2]), detections([], [])):
        assert all(math.isnan(value) for value in evaluate_detections(truth, found, SIZE).values())
    assert math.isnan(evaluate_detections(objects([], []), found, SIZE)["mask_mAP"])


def test_shapes_that_do_not_fit():
    truth, found = objects(TWO, [0, 1]), detections(TWO, [0, 1])
    for wrong in (
        {**truth, "labels": truth["labels"][:, :1]},
        {**truth, "masks": truth["masks"][..., :9]},
        {"boxes": truth["boxes"]},
    ):
        with pytest.raises(ValueError, match="`truth` must hold boxes"):
            evaluate_detections(wrong, found, SIZE)
    with pytest.raises(ValueError, match="`detections` must hold boxes"):
        evaluate_detections(truth, {**found, "scores": found["scores"][0]}, SIZE)
    twice = {name: np.repeat(array, 2, axis=0) for name, array in found.items()}
    with pytest.raises(ValueError, match="1 images with truth, 2 with detections"):
        evaluate_detections(truth, twice, SIZE)


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    for call in (
        lambda: evaluate_detections(objects([], []), detections([], []), SIZE),
        lambda: COCOMetrics((np.zeros((1, *SIZE, 3)), objects([], []))),
    ):
        with pytest.raises(ImportError, match=r'pip install ".*\[coco\]"'):
            call()


def test_a_model_on_data(scenes):
    """Arrays, tensors, batches and a PyDataset; right, and half right."""
    images, targets = scenes
    model = Oracle(known(*scenes))
    perfect = coco_metrics(model, scenes, batch_size=2)
    assert perfect["box_mAP"] == perfect["mask_mAP"] == pytest.approx(1)
    model.scenes[0][1]["labels"][:] = 2
    expected = coco_metrics(model, scenes)
    assert 0 < expected["box_mAP"] < 1
    tensors = {name: keras.ops.convert_to_tensor(array) for name, array in targets.items()}
    for data in (
        (keras.ops.convert_to_tensor(images), tensors),
        Batches(*scenes),
        [(images[:2], {k: v[:2] for k, v in targets.items()}), Batches(*scenes)[2]],
        iter([scenes]),
    ):
        assert coco_metrics(model, data) == pytest.approx(expected, nan_ok=True)


def test_a_model_with_another_format_of_boxes(scenes):
    images, targets = scenes
    model = Oracle(known(*scenes), "rel_center_xywh")
    boxes = convert(targets["boxes"], "xyxy", "rel_center_xywh", *SIZE)
    metrics = coco_metrics(model, (images, {**targets, "boxes": boxes}))
    assert metrics["box_mAP"] == metrics["mask_mAP"] == pytest.approx(1)


def test_data_that_do_not_fit(scenes):
    images, targets = scenes
    model = Oracle([])
    for data, words in (
        (images, "a pair"),
        ((images[:2], targets), "as many targets"),
        ([], "at least one image"),
        ([(images, targets["boxes"])], "Each batch"),
    ):
        with pytest.raises(ValueError, match=words):
            coco_metrics(model, data)
    with pytest.raises(ValueError, match="Expected a detector"):
        coco_metrics(keras.Sequential(), scenes)
    with pytest.raises(ValueError, match="iterator"):
        COCOMetrics(iter([scenes]))
    for wrong in ({"every": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            COCOMetrics(scenes, **wrong)
    mixed = [scenes, (images, {k: v for k, v in targets.items() if k != "masks"})]
    with pytest.raises(ValueError, match="all batches have masks or none"):
        coco_metrics(Oracle(known(*scenes)), mixed)


@slow_but_on_torch
def test_in_training(detector_of_three, scenes, capsys):
    model = detector_of_three(bounding_box_format="rel_xyxy", max_detections=60)
    images, targets = scenes
    targets["boxes"][:, 1] = [0, 0, 80, 60]  # which no detector misses altogether
    targets["masks"][:, 1] = True
    targets["boxes"] = keras.ops.convert_to_numpy(
        convert(targets["boxes"], "xyxy", "rel_xyxy", *SIZE)
    )
    data = images.astype("uint8"), targets
    model.compile(keras.optimizers.SGD(1e-4))
    seen, expected = [], {}

    def look(epoch, logs):
        seen.append("val_box_mAP" in logs)
        if seen[-1]:
            expected.update(coco_metrics(model, data, 3))

    callbacks = [COCOMetrics(data, 3, every=2), keras.callbacks.LambdaCallback(on_epoch_end=look)]
    history = model.fit(*data, epochs=3, batch_size=3, verbose=0, callbacks=callbacks).history
    assert seen == [False, True, False]
    assert len(history["loss"]) == 3
    assert len(set(history["loss"])) == 3  # it goes on to learn
    for name, value in expected.items():
        assert history[f"val_{name}"] == pytest.approx([value], abs=1e-3, nan_ok=True)
    assert {"box_mAP", "mask_mAP50"} < set(expected)
    assert history["val_box_AR100"][0] > 0
    assert capsys.readouterr().out == ""
