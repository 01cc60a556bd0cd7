"""Segmenters: training, sizes, files, masks of every kind, windows, pictures, weights."""

import tracemalloc
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca.segmentation import Segmenter
from keras_paca.segmentation.heads import FCNHead, PaCaSegmentationHead
from tests.marks import slow_but_on_tensorflow, slow_but_on_torch

HEADS = ("paca", "upernet", "fpn", "mask_transformer")


each_head = pytest.mark.parametrize(
    "head", ["paca", *(pytest.param(name, marks=slow_but_on_torch) for name in HEADS[1:])]
)


def scene(count, height, width, seed=0):
    """Return images of a bright rectangle on dark ground, and their masks."""
    draw = np.random.default_rng(seed)
    images = draw.uniform(0, 60, (count, height, width, 3)).astype("float32")
    masks = np.zeros((count, height, width), "uint8")
    for image, mask in zip(images, masks, strict=True):
        top, left = draw.integers(0, height // 2), draw.integers(0, width // 2)
        place = slice(top, top + height // 2), slice(left, left + width // 2)
        image[place] += 150
        mask[place] = 1
    return images, masks


@each_head
def test_fit_predict_save_and_load(head, segmenter, tmp_path):
    model = segmenter(head)
    images, masks = scene(2, 64, 48)
    masks[:, :5] = 255
    model.compile(keras.optimizers.AdamW(1e-2))
    history = model.fit(images, masks, batch_size=2, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][0] != history["loss"][1]
    assert 0 <= history["mean_iou"][0] <= 1
    logits = model.predict(images, verbose=0)
    assert logits.shape == (2, 64, 48, 3)
    assert logits.dtype == np.float32
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, Segmenter)
    np.testing.assert_allclose(again.predict(images, verbose=0), logits, rtol=1e-5, atol=1e-5)
    assert set(again.evaluate(images, masks, verbose=0, return_dict=True)) == {"loss", "mean_iou"}


@each_head
def test_any_size(head, segmenter):
    model = segmenter(head)
    for size in [(33, 47), (64, 32)] if keras.backend.backend() != "jax" else [(33, 47)]:
        assert model.predict(scene(1, *size)[0], verbose=0).shape == (1, *size, 3)


@slow_but_on_torch
def test_size_that_is_known(segmenter):
    """The vendor's resize computes what the matrix products compute."""
    free, fixed = segmenter(), segmenter(input_shape=(40, 56, 3))
    fixed.set_weights(free.get_weights())
    images, masks = scene(2, 40, 56)
    found = fixed.predict(images, verbose=0)
    np.testing.assert_allclose(found, free.predict(images, verbose=0), rtol=1e-4, atol=1e-5)
    fixed.compile()
    assert np.isfinite(fixed.fit(images, masks, verbose=0).history["loss"][0])


@slow_but_on_torch
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, segmenter):
    model = segmenter(dtype=policy)
    assert model.decode_head.compute_dtype == policy.removeprefix("mixed_")
    images, masks = scene(2, 32, 48)
    model.compile()
    assert np.isfinite(model.fit(images, masks, verbose=0).history["loss"][0])
    assert model.predict(images, verbose=0).dtype == np.float32


class Stream(keras.utils.PyDataset):
    """One batch, from a data set."""

    def __init__(self, images, masks):
        super().__init__()
        self.batch = images, masks

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


def losses(model, images, masks):
    """Return what `fit` says of one batch, with a step of length 0."""
    model.compile(keras.optimizers.SGD(0.0))
    return model.fit(images, masks, batch_size=len(images), verbose=0).history


@slow_but_on_torch
def test_loss_is_that_of_the_equation(segmenter):
    """Cross-entropy of both logits over the pixels with a class, the second weighted."""
    model = segmenter("paca", auxiliary_weight=0.25)
    for layer in model._flatten_layers():
        if hasattr(layer, "rate"):
            layer.rate = 0.0
    images, masks = scene(2, 32, 48)
    masks[0, :7] = 255
    outputs = model(images, training=True)
    auxiliary = ops.image.resize(outputs["auxiliary"], (32, 48), data_format="channels_last")
    known = masks != 255

    def entropy(logits):
        logits = ops.convert_to_numpy(logits).astype("float64")[known]
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, masks[known].astype(int)[:, None], axis=-1)[:, 0]
        return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen))

    expected = entropy(outputs["logits"]) + 0.25 * entropy(auxiliary)
    assert losses(model, images, masks)["loss"][0] == pytest.approx(expected, rel=1e-4)


@slow_but_on_torch
def test_nothing_but_ignored_pixels(segmenter):
    images, masks = scene(2, 32, 32)
    history = losses(segmenter(), images, np.full_like(masks, 255))
    assert history["loss"][0] == pytest.approx(0.0, abs=1e-6)
    mixed = masks.copy()
    mixed[0] = 255
    assert np.isfinite(losses(segmenter(), images, mixed)["loss"][0])


@slow_but_on_torch
def test_masks_with_a_last_axis(segmenter):
    images, masks = scene(2, 32, 32)
    model = segmenter()
    model.compile()
    flat = model.evaluate(images, masks, verbose=0)
    assert model.evaluate(images, masks[..., None], verbose=0) == pytest.approx(flat)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: masks + 3, r"ids \[3, 4\]"),
        (lambda masks: masks.astype("int32") - 1, r"ids \[-1\]"),
        (lambda masks: masks + np.float32(0.5), "integer ids"),
        (lambda masks: masks[0], "shape"),
    ],
)
@slow_but_on_torch
def test_masks_that_are_wrong(change, message, segmenter):
    images, masks = scene(2, 32, 32)
    model = segmenter()
    model.compile()
    for call in (
        lambda: model.fit(images, change(masks), verbose=0),
        lambda: model.evaluate(images, change(masks), verbose=0),
        lambda: model.fit(images, masks, validation_data=(images, change(masks)), verbose=0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@slow_but_on_torch
@slow_but_on_tensorflow
def test_masks_and_weights_of_several_forms_on_one_model(segmenter):
    """TensorFlow gives up the number of axes of what a compiled step has seen several of."""
    model = segmenter("fpn")
    model.compile("sgd")
    images, masks = scene(4, 32, 32)
    expected = model.test_on_batch(images, masks)[0]
    for shape in ((4,), (4, 32, 32)):
        weights = np.full(shape, 2.0, "float32")
        for given in (masks, masks[..., None]):
            found = model.test_on_batch(images, given, weights)[0]
            assert found == pytest.approx(2 * expected, rel=1e-5)


@slow_but_on_torch
def test_unknown_ids_in_a_stream_are_ignored(segmenter):
    images, masks = scene(2, 32, 32)
    unknown, ignored = masks.astype("int32"), masks.copy()
    unknown[:, :9], ignored[:, :9] = 77, 255
    model = segmenter()
    model.compile()
    stream = Stream(images, unknown)
    with pytest.warns(UserWarning, match=r"ids \[77\].* are ignored"):
        found = model.evaluate(stream, verbose=0)
    assert found == pytest.approx(model.evaluate(images, ignored, verbose=0), rel=1e-4)
    with pytest.warns(UserWarning, match=r"ids \[77\]"):
        assert np.isfinite(model.fit(stream, verbose=0).history["loss"][0])


@slow_but_on_torch
def test_mean_iou(segmenter):
    """Against the definition, over the classes that occur."""
    model = segmenter()
    images, masks = scene(2, 32, 32)
    masks[0, :3] = 255
    model.compile()
    found = model.evaluate(images, masks, verbose=0, return_dict=True)["mean_iou"]
    predicted = model.predict(images, verbose=0).argmax(axis=-1)
    known = masks != 255
    scores = []
    for number in range(3):
        a, b = (predicted == number) & known, (masks == number) & known
        if (a | b).any():
            scores.append((a & b).sum() / (a | b).sum())
    assert found == pytest.approx(np.mean(scores), rel=1e-5)


@slow_but_on_torch
def test_windows(segmenter):
    """One window is the whole image; several are means where they overlap."""
    model = segmenter()
    images, _ = scene(1, 48, 64)
    whole = model.predict(images, verbose=0)
    one = model.predict_in_windows(images, window_size=64, stride=64)
    np.testing.assert_allclose(one, whole, atol=1e-6)
    found = model.predict_in_windows(images, window_size=(48, 40), stride=(48, 24))
    left = model.predict(images[:, :, :40], verbose=0)
    right = model.predict(images[:, :, 24:], verbose=0)
    np.testing.assert_allclose(found[:, :, :24], left[:, :, :24], atol=1e-5)
    np.testing.assert_allclose(found[:, :, 40:], right[:, :, 16:], atol=1e-5)
    middle = (left[:, :, 24:] + right[:, :, :16]) / 2
    np.testing.assert_allclose(found[:, :, 24:40], middle, atol=1e-5)
    with pytest.raises(ValueError, match="between 1 and"):
        model.predict_in_windows(images, window_size=32, stride=33)
    for options in ({"window_size": "32"}, {"window_size": 32.0}, {"stride": 0}, {"stride": "2"}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be a positive"):
            model.predict_in_windows(images, **options)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((70, 45), 32, 20), ((64, 96), 48, 48), ((33, 100), (40, 32), (7, 31)), ((32, 33), 32, 32)],
)
def test_windows_are_the_official_ones(size, window, stride, segmenter):
    """Those of mmsegmentation's `slide_inference`, each predicted by itself."""
    model = segmenter("fpn")
    images, _ = scene(1, *size)
    found = model.predict_in_windows(images, window, stride)
    (tall, wide), (down, right) = (np.broadcast_to(x, 2).tolist() for x in (window, stride))
    total, count = np.zeros((1, *size, 3)), np.zeros((1, *size, 1))
    for row in range(max(size[0] - tall + down - 1, 0) // down + 1):
        for column in range(max(size[1] - wide + right - 1, 0) // right + 1):
            bottom = min(row * down + tall, size[0])
            end = min(column * right + wide, size[1])
            place = slice(max(bottom - tall, 0), bottom), slice(max(end - wide, 0), end)
            total[:, *place] += ops.convert_to_numpy(model(images[:, *place], training=False))
            count[:, *place] += 1
    assert count.min() >= 1
    np.testing.assert_allclose(found, total / count, rtol=1e-4, atol=1e-5)


@slow_but_on_torch
def test_windows_hold_the_logits_once(segmenter, monkeypatch):
    model = segmenter("fpn", num_classes=40)
    monkeypatch.setattr(
        model, "predict", lambda x, **options: np.zeros((*x.shape[:3], 40), "float32")
    )
    images = np.zeros((1, 512, 512, 3), "float32")
    tracemalloc.start()
    found = model.predict_in_windows(images, 64, 48)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes < peak < 1.2 * found.nbytes


@slow_but_on_torch
def test_auxiliary_head_is_left_out_of_inference(segmenter, monkeypatch):
    model = segmenter("upernet")
    images, _ = scene(1, 32, 32)
    model(images, training=True)

    def call(*args, **kwargs):
        raise AssertionError("the auxiliary head was called")

    monkeypatch.setattr(model.auxiliary_head, "call", call)
    assert model(images, training=False).shape == (1, 32, 32, 3)


def test_parts_that_do_not_fit(small, segmenter):
    backbone = small(include_top=False)
    for arguments, message in (
        ((keras.Sequential([keras.Input((32, 32, 3))]),), "pyramid_outputs"),
        ((backbone, "deeplab"), "`head` must be"),
        ((backbone, PaCaSegmentationHead(4), 3), "`num_classes` must be"),
        ((backbone, PaCaSegmentationHead(3), 3, FCNHead(3)), "takes no"),
        ((backbone, "paca", 300), "`ignore_class`"),
    ):
        with pytest.raises(ValueError, match=message):
            Segmenter(*arguments)


@slow_but_on_torch
def test_inside_another_model(segmenter, tmp_path):
    inner = segmenter()
    inputs = keras.Input((40, 40, 3))
    outputs = keras.layers.Softmax()(inner(keras.layers.Rescaling(255.0)(inputs)))
    assert outputs.shape == (None, 40, 40, 3)
    model = keras.Model(inputs, outputs)
    images, _ = scene(1, 40, 40)
    found = model.predict(images / 255, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images / 255, verbose=0), found, atol=1e-5)


@pytest.mark.parametrize("part", ["backbone", "decode_head"])
def test_a_frozen_part_stays_frozen(part, segmenter, tmp_path):
    model = segmenter("fpn")
    getattr(model, part).trainable = False
    paths = [weight.path for weight in model.trainable_weights]
    assert 0 < len(paths) < len(model.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [weight.path for weight in loaded.trainable_weights] == paths


@slow_but_on_torch
def test_weights_of_images_and_of_classes(segmenter):
    """Both weigh the pixels; without them, the mean over all."""
    model = segmenter("fpn")
    model.compile(keras.optimizers.SGD(0.0))
    images, masks = scene(4, 32, 32)
    logits = keras.ops.convert_to_numpy(model(images, training=False)).astype("float64")
    shifted = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    entropy = -np.take_along_axis(shifted, masks[..., None].astype("int64"), axis=-1)[..., 0]
    images_weights = np.array([0.0, 1.0, 2.0, 3.0])
    found = model.evaluate(images, masks, sample_weight=images_weights, verbose=0)[0]
    assert found == pytest.approx((entropy * images_weights[:, None, None]).mean(), rel=1e-3)
    table = {0: 0.0, 1: 0.0}  # of the only classes there are
    assert model.fit(images, masks, class_weight=table, verbose=0).history["loss"][0] == 0


# --- The maps of a backbone that a head takes -----------------------------------------------------


def vittm(memory=16, process=32, **options):
    sizes = {"memory_patch_size": memory, "process_patch_size": process, "image_size": 64}
    return keras_paca.ViTTM(8, 2, depth=2, include_top=False, **sizes, **options)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("memory", "process", "maps"),
    [(16, 32, 1), pytest.param(16, 16, 2, marks=slow_but_on_torch)],
)
def test_tokens_of_vittm(memory, process, maps):
    backbone = vittm(memory, process)
    model = Segmenter(backbone, "mask_transformer", num_classes=3)
    assert [x.shape[-1] for x in backbone.grid_maps] == [8] * maps
    images, masks = scene(2, 70, 64)
    model.compile(keras.optimizers.AdamW(1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no weight is without a gradient
        history = model.fit(images, masks, batch_size=2, verbose=0).history
    assert np.isfinite(keras.ops.convert_to_numpy(history["loss"][0]))


@slow_but_on_torch
def test_parts_that_the_head_does_not_need_are_kept(tmp_path):
    model = Segmenter(vittm(), "mask_transformer", num_classes=3)
    idle = {weight.path for weight in model.weights if "block2_write/" in weight.path}
    assert len(idle) == 6
    assert not idle & {weight.path for weight in model.trainable_weights}
    assert len(model.trainable_variables) == len(model.trainable_weights)
    images, _ = scene(1, 70, 64)
    logits = model.predict(images, verbose=0)
    assert logits.shape == (1, 70, 64, 3)
    found = keras_paca.fuse(model).predict(images, verbose=0)
    np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(images, verbose=0), logits, rtol=1e-5, atol=1e-5)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@slow_but_on_torch
def test_a_backbone_with_one_level(tmp_path):
    """The mask transformer takes the coarsest level that there is; others name those they miss."""
    images = keras.Input((None, None, 3))
    backbone = keras.Model(images, keras.layers.Conv2D(8, 16, strides=16)(images))
    backbone.pyramid_outputs = {"P4": backbone.output}
    model = Segmenter(backbone, "mask_transformer", num_classes=3)
    given, _ = scene(1, 48, 64)
    logits = model.predict(given, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert list(again.backbone.pyramid_outputs) == ["P4"]
    np.testing.assert_allclose(again.predict(given, verbose=0), logits, rtol=1e-5, atol=1e-5)
    for head, missing in (("fpn", "P2, P3, P5"), ("upernet", "P2, P3, P5")):
        with pytest.raises(ValueError, match=f"Missing: {missing}"):
            Segmenter(backbone, head, num_classes=3)
    with pytest.raises(ValueError, match="Missing: P2, P3"):
        Segmenter(vittm(), "fpn", num_classes=3)
    backbone.pyramid_outputs = {}
    with pytest.raises(ValueError, match="at least one level"):
        Segmenter(backbone, "mask_transformer", num_classes=3)


@slow_but_on_torch
def test_the_coarsest_level_is_taken_by_default(small):
    backbone = small(include_top=False)
    model = Segmenter(backbone, "mask_transformer", num_classes=3)
    assert model.decode_head.maps_of(backbone) == [backbone.pyramid_outputs["P5"]]
