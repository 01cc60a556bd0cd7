"""Pictures as arrays, for detectors and segmenters: of the types of `evaluation_transform`."""

import numpy as np
import pytest
from PIL import Image

import keras_paca
from keras_paca import segmentation
from keras_paca.detection.predict import detect, pad_image
from keras_paca.preprocessing.whole import resize_bilinear
from keras_paca.segmentation.predict import best_classes, segment
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch  # NumPy, the same on all backends


class Sees:
    """A detector and a segmenter that keeps the images that it gets."""

    bounding_box_format, num_classes, include_preprocessing = "xyxy", 3, True

    def predict_on_batch(self, images):
        self.images = images
        return self.outputs()


class Detector(Sees):
    input_shape = (None, None, None, 3)

    def outputs(self):
        labels = np.full((1, 1), -1)
        return {"boxes": np.zeros((1, 1, 4)), "scores": np.zeros((1, 1)), "labels": labels}


class Segmenter(Sees):
    inputs = (np.zeros((1, 64, 96, 3)),)

    def outputs(self):
        return np.zeros((1, 16, 24, 3))


TASKS = [(detect, Detector), (segment, Segmenter)]


def seen(task, model, image):
    """Return the images that a model gets for a picture."""
    model = model()
    task(model, image, 64, 96)
    return model.images


@pytest.mark.parametrize(("task", "model"), TASKS)
def test_types_of_arrays(task, model):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), "uint8")
    expected = seen(task, model, image)
    np.testing.assert_array_equal(expected[0], image)
    np.testing.assert_array_equal(seen(task, model, image.astype("uint16") * 257), expected)
    grey = np.repeat(image[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(seen(task, model, image[..., 0])[0], grey)
    with pytest.warns(UserWarning, match="lowest sixteenth") as found:
        seen(task, model, image.astype("uint16"))
    assert found[0].filename == __file__


@pytest.mark.parametrize(("task", "model"), TASKS)
def test_arrays_that_are_refused(task, model):
    image = np.zeros((64, 96, 3), "uint8")
    for wrong, words in (
        (image / 255, r"float64.*array \* 255"),
        (image.astype("int32"), "int32"),
        (np.zeros((64, 96, 4), "uint8"), r"\(64, 96, 4\)"),
        (image[None], "without a batch axis"),
        (image[:0], "at least 1 x 1 pixels"),
        (image.tolist(), "uint8 or uint16 NumPy array. Received: list"),
    ):
        with pytest.raises(ValueError, match=words) as refusal:
            task(model(), wrong)
        assert len(str(refusal.value).splitlines()) == 1


def test_a_square_that_is_too_small():
    with pytest.raises(ValueError, match="`pad_to` must hold the resized picture, of 128 x 160"):
        detect(Detector(), np.zeros((64, 80, 3), "uint8"), 128, 160, pad_to=96)


def test_padding():
    image = np.random.default_rng(0).uniform(0, 255, (80, 112, 3)).astype("float32")
    padded = pad_image(image, 32)
    assert padded.shape == (96, 128, 3)
    np.testing.assert_array_equal(padded[:80, :112], image)
    np.testing.assert_allclose(
        padded[80:], np.broadcast_to([123.675, 116.28, 103.53], (16, 128, 3))
    )


def test_official_sides_and_windows_of_a_segmenter(small):
    """They come from the call, or from what the model holds."""
    model = segmentation.Segmenter(small(include_top=False), "fpn", num_classes=3)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8")
    sides = {"short_side": 64, "long_side": 256}
    resized = resize_bilinear(resize_bilinear(image, (64, 96)), (80, 120))
    whole = model.predict(resized[None], verbose=0)[0]
    found = segment(model, image, **sides, multiple_of=40)
    np.testing.assert_array_equal(found, best_classes(whole, (40, 60)))
    windows = model.predict_in_windows(resized[None], 48, 32)[0]
    model.evaluation_transform = {"multiple_of": 40, "window_size": 48, "stride": 32}
    found = segment(model, image, **sides)
    np.testing.assert_array_equal(found, best_classes(windows, (40, 60)))


def test_the_sides_in_a_segmenter_are_used(small, tmp_path, monkeypatch):
    """By `segment` and by the evaluation, as by the command; the call comes first."""
    model = segmentation.Segmenter(small(include_top=False), "fpn", num_classes=3)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8")
    Image.fromarray(image).save(tmp_path / "picture.png")
    Image.new("L", (60, 40)).save(tmp_path / "mask.png")
    pairs = [(tmp_path / "picture.png", tmp_path / "mask.png")]
    shapes = []
    monkeypatch.setattr(
        model, "predict_on_batch", lambda x: shapes.append(x.shape[1:3]) or np.zeros((1, 8, 8, 3))
    )
    segment(model, image)
    model.evaluation_transform = {"short_side": 96, "long_side": 120}
    segment(model, image)
    segmentation.evaluate_segmenter(model, pairs)
    segmentation.evaluate_segmenter(model, pairs, long_side=99)
    segment(model, image, short_side=200)
    assert shapes == [(512, 768), (80, 120), (80, 120), (66, 99), (133, 200)]


def test_normalisation_of_a_segmenter_on_vittm():
    """A model without preprocessing gets images as its family normalises them."""
    options = {"memory_patch_size": 16, "process_patch_size": 16, "image_size": 64}
    models = [
        segmentation.Segmenter(
            keras_paca.ViTTM(
                8,
                2,
                1,
                include_top=False,
                normalization="symmetric",
                include_preprocessing=x,
                **options,
            ),
            "mask_transformer",
            num_classes=3,
        )
        for x in (True, False)
    ]
    models[1].set_weights(models[0].get_weights())
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    found, wanted = (segment(model, image, 64) for model in models)
    np.testing.assert_array_equal(found, wanted)
