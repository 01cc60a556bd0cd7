"""Mask R-CNN: training, sizes, files, formats, awkward ground truth."""

import types

import keras
import numpy as np
import pytest

from keras_paca.detection import (
    MaskRCNN,
)
from tests.data import Stream
from tests.detection.scenes import scene
from tests.marks import slow_but_on_torch

NAMES = {"rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss", "loss"}


def test_fit_and_predict(detector):
    model = detector()
    images, objects = scene(2, 64, 80)
    model.compile(keras.optimizers.AdamW(1e-3))
    history = model.fit(images, objects, batch_size=2, epochs=2, verbose=0).history
    assert set(history) == NAMES
    assert np.isfinite(list(history.values())).all()
    assert history["loss"][0] != history["loss"][1]
    found = model.predict(images, verbose=0)
    shapes = {name: array.shape for name, array in found.items()}
    assert shapes == {
        "boxes": (2, 8, 4),
        "scores": (2, 8),
        "labels": (2, 8),
        "masks": (2, 8, 28, 28),
        "count": (2,),
    }
    assert found["count"].tolist() == (found["labels"] >= 0).sum(axis=1).tolist()
    assert (np.diff(found["scores"]) <= 0).all()
    assert (found["boxes"] <= [80, 64, 80, 64]).all()


@slow_but_on_torch
def test_save_load_and_evaluate(detector, tmp_path):
    model = detector()
    images, objects = scene(2, 64, 80)
    model.compile(keras.optimizers.AdamW(1e-3))
    model.fit(images, objects, batch_size=2, verbose=0)
    found = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, MaskRCNN)
    for name, array in again.predict(images, verbose=0).items():
        np.testing.assert_allclose(array, found[name], rtol=1e-4, atol=1e-4)
    assert set(again.evaluate(images, objects, verbose=0, return_dict=True)) == NAMES


@slow_but_on_torch
def test_it_learns(detector):
    """The losses of one batch fall when it is trained on again and again."""
    model = detector()
    images, objects = scene(2, 64, 64)
    model.compile(keras.optimizers.AdamW(2e-3))
    history = model.fit(images, objects, batch_size=2, epochs=12, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


@slow_but_on_torch
@pytest.mark.parametrize("kind", ["none", "some", "all"])
def test_images_without_objects(kind, detector):
    images, objects = scene(2, 48, 64)
    if kind != "none":
        objects["labels"][: 1 if kind == "some" else 2] = -1
        objects["boxes"][objects["labels"] < 0] = -1
    model = detector()
    model.compile(keras.optimizers.SGD(1e-3))
    history = model.fit(images, objects, batch_size=2, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    if kind == "all":
        assert history["box_loss"] == history["mask_loss"] == history["rpn_box_loss"] == [0.0]


@slow_but_on_torch
def test_boxes_outside_the_image_and_unknown_labels_are_no_objects(detector):
    """Labels without a class are refused in arrays, and ignored in a data set."""
    images, objects = scene(1, 48, 48)
    objects["boxes"][0, 0] = [60, 60, 90, 90]
    objects["boxes"][0, 1] = [30, 10, 20, 20]
    objects["labels"][0, 2] = 7
    model = detector()
    model.compile(keras.optimizers.SGD(0.0))
    with pytest.raises(ValueError, match=r"labels with \[7\]"):
        model.fit(images, objects, verbose=0)
    with (
        pytest.warns(UserWarning, match=r"labels \[7\].* are ignored"),
        pytest.warns(UserWarning, match="2 of 2 objects have no area inside"),
    ):
        history = model.fit(Stream((images, objects)), verbose=0).history
    assert history["box_loss"] == history["mask_loss"] == [0.0]
    assert np.isfinite(history["loss"][0])


@slow_but_on_torch
@pytest.mark.parametrize("kind", ["uint8", "map"])
def test_kinds_of_masks(kind, detector):
    """The same loss whatever the masks come as."""
    images, objects = scene(1, 48, 64, objects=1)
    losses = []
    for masks in (
        objects["masks"],
        objects["masks"][:, 0].astype("int32")
        if kind == "map"
        else objects["masks"].astype("uint8"),
    ):
        model = detector(seed=5)
        model.compile()
        losses.append(model.evaluate(images, {**objects, "masks": masks}, verbose=0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@slow_but_on_torch
@pytest.mark.parametrize("kind", [pytest.param("xywh", marks=pytest.mark.slow), "rel_yxyx"])
def test_formats_of_boxes(kind, detector):
    images, objects = scene(1, 48, 64)
    convert = keras.utils.bounding_boxes.convert_format
    plain, other = detector(seed=5), detector(seed=5, bounding_box_format=kind)
    plain.compile()
    other.compile()
    boxes = keras.ops.convert_to_numpy(convert(objects["boxes"], "xyxy", kind, 48, 64))
    expected = plain.evaluate(images, objects, verbose=0)
    found = other.evaluate(images, {**objects, "boxes": boxes}, verbose=0)
    assert found == pytest.approx(expected, rel=1e-3)
    expected = convert(plain.predict(images, verbose=0)["boxes"], "xyxy", kind, 48, 64)
    found = other.predict(images, verbose=0)["boxes"]
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-3)


@slow_but_on_torch
def test_two_steps_in_a_row_differ(detector):
    images, objects = scene(1, 48, 48)
    model = detector()
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(images, objects, epochs=2, verbose=0).history
    assert history["loss"][0] != history["loss"][1]


@slow_but_on_torch
def test_any_size(detector):
    model = detector()
    for size in ((33, 47), (96, 32)):
        found = model.predict(scene(1, *size)[0], verbose=0)
        assert found["boxes"].shape == (1, 8, 4)


@slow_but_on_torch
def test_size_that_is_known(detector):
    free, fixed = detector(), detector(input_shape=(40, 56, 3))
    fixed.set_weights(free.get_weights())
    images, _ = scene(1, 40, 56)
    for name, array in fixed.predict(images, verbose=0).items():
        np.testing.assert_allclose(array, free.predict(images, verbose=0)[name], atol=1e-3)


@slow_but_on_torch
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, detector):
    model = detector(dtype=policy)
    images, objects = scene(1, 48, 48)
    model.compile()
    assert np.isfinite(model.fit(images, objects, verbose=0).history["loss"][0])
    assert np.isfinite(model.predict(images, verbose=0)["boxes"]).all()


@slow_but_on_torch
def test_own_losses_only(detector):
    with pytest.raises(ValueError, match="own losses"):
        detector().compile(loss="mse")
    with pytest.raises(ValueError, match=r"Received: metrics=\['accuracy'\]"):
        detector().compile(metrics=["accuracy"])


@slow_but_on_torch
def test_no_losses_and_metrics_of_ones_own(detector, tmp_path):
    model = detector()
    model.compile("sgd", loss=None, metrics=[], weighted_metrics={})
    images, objects = scene(1, 48, 48)
    model.fit(images, objects, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert set(again.evaluate(images, objects, verbose=0, return_dict=True)) == NAMES


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's strategies")
def test_the_loss_of_devices_that_work_together(detector, monkeypatch):
    """Each adds its share, so that the sum is the loss, as Keras's own losses do."""
    import tensorflow as tf

    model = detector()
    model.compile("sgd")
    images, objects = scene(1, 48, 48)
    objects = {name: keras.ops.convert_to_tensor(array) for name, array in objects.items()}

    def loss():
        model.seed_generator.state.assign(np.array([3, 0], "uint32"))
        return float(model.compute_loss(images, objects, model.first_stage(images), None))

    alone = loss()
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert loss() == pytest.approx(alone / 2, rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"max_detections": 999}, {"proposals": 9000}, {"proposals": 101, "candidates": 20}]
)
def test_numbers_that_do_not_fit(options, detector):
    with pytest.raises(ValueError, match="`proposals` must be"):
        detector(**options)


COUNTS = {"num_classes": 3, "channels": 8, "proposals": 20, "max_detections": 4, "candidates": 20}


@slow_but_on_torch
def test_numpy_numbers(small, tmp_path):
    counts = {name: np.int64(value) for name, value in COUNTS.items()}
    thresholds = {"score_threshold": np.float32(0.5), "iou_threshold": 1}
    model = MaskRCNN(small(include_top=False), **counts, **thresholds)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert {name: again.get_config()[name] for name in COUNTS} == COUNTS
    assert again.get_config()["score_threshold"] == 0.5


def test_its_name(small):
    detector = MaskRCNN(
        small(include_top=False), 2, channels=8, max_detections=10, proposals=10, name="cats"
    )
    assert detector.name == "cats"
    assert detector.get_config()["name"] == "cats"


@slow_but_on_torch
@pytest.mark.parametrize("name", COUNTS)
def test_counts_that_are_refused(name, small):
    for value in ("3", True, 0, -1, 3.0, None):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive integer.*{name}="):
            MaskRCNN(small(include_top=False), **{**COUNTS, name: value})


@slow_but_on_torch
@pytest.mark.parametrize("name", ["score_threshold", "iou_threshold"])
def test_thresholds_that_are_refused(name, small):
    for value in ("0.5", 2, 50, -1, np.nan, True, None):
        with pytest.raises(ValueError, match=f"`{name}` must be a number from 0 to 1.*{name}="):
            MaskRCNN(small(include_top=False), **COUNTS, **{name: value})


def test_backbone_without_levels():
    with pytest.raises(ValueError, match="pyramid_outputs"):
        MaskRCNN(keras.Sequential([keras.Input((32, 32, 3))]))
