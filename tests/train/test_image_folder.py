"""Batches of pictures out of folders."""

import pickle

import numpy as np
import pytest
from PIL import Image

from keras_paca import evaluation_transform
from keras_paca.preprocessing.folders import find_images
from keras_paca.train.image_folder import ImageFolder, random_box
from tests.data import save_bright_and_dark
from tests.marks import slow_but_on_torch
from tests.refusal import refusal

pytestmark = slow_but_on_torch


@pytest.fixture
def folder(tmp_path):
    """Two classes, dark and bright, ten pictures each."""
    return save_bright_and_dark(tmp_path / "data", 10, lambda i: (40 + i, 60))


def test_validation_images_are_the_official_transform(folder):
    files, _ = find_images(folder)
    data = ImageFolder(files, classes=2, image_size=32, batch_size=8)
    assert len(data) == 3
    images, labels = data[2]
    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(labels, [[0, 1]] * 4)
    np.testing.assert_array_equal(images[0], evaluation_transform(files[16][0], 32))


def test_validation_images_are_cut_as_asked(folder):
    files, _ = find_images(folder)
    data = ImageFolder(files, classes=2, image_size=32, batch_size=8, crop=0.5)
    expected = evaluation_transform(files[16][0], 32, crop=0.5)
    np.testing.assert_array_equal(data[2][0][0], expected)
    assert (expected != evaluation_transform(files[16][0], 32)).any()


def test_training_images_are_drawn_anew_each_epoch(folder):
    files, _ = find_images(folder)
    data = ImageFolder(files, classes=2, image_size=32, batch_size=20, training=True, seed=3)
    again = ImageFolder(files, classes=2, image_size=32, batch_size=20, training=True, seed=3)
    (first, labels), (same, _) = data[0], again[0]
    np.testing.assert_array_equal(first, same)
    assert labels.sum(axis=0).tolist() == [10, 10]
    assert labels[:10, 0].sum() not in (0, 10)  # shuffled
    data.on_epoch_end()
    assert (data[0][0] != first).any()


@pytest.mark.parametrize("training", [False, True])
def test_photographs_are_shown_upright(training, tmp_path):
    """What is drawn being the same, the turned file gives what the upright one gives."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype="uint8")
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
                 8: Image.Transpose.ROTATE_270}  # fmt: skip
        Image.fromarray(pixels).save(tmp_path / "upright.png")
        Image.fromarray(pixels).transpose(turns[orientation]).save(tmp_path / "t.png", exif=exif)
        batches = [
            ImageFolder([(tmp_path / name, 0)], 1, 32, 1, training=training)[0][0]
            for name in ("upright.png", "t.png")
        ]
        np.testing.assert_array_equal(*batches)


@pytest.mark.parametrize("training", [False, True])
def test_sizes_that_differ(training, folder):
    files, _ = find_images(folder)
    data = ImageFolder(files, classes=2, image_size=(32, 48), batch_size=4, training=training)
    assert data[0][0].shape == (4, 32, 48, 3)
    assert data.image_size == (32, 48)


def test_a_file_that_breaks_later_is_named(folder):
    files, _ = find_images(folder)
    files[0][0].write_bytes(b"broken")
    files[-1][0].unlink()
    data = ImageFolder(files, classes=2, image_size=32, batch_size=8)
    assert str(files[0][0]) in refusal(lambda: data[0])
    assert str(files[-1][0]) in refusal(lambda: data[2], FileNotFoundError)


def test_can_be_sent_to_other_processes(folder):
    data = ImageFolder(
        find_images(folder)[0], classes=2, image_size=32, batch_size=8, training=True
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data))[1][0], data[1][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": []}, "`files` must hold one .* or more"),
        ({"classes": 0}, "`classes` must be a positive integer. Received: classes=0"),
        ({"classes": "2"}, "Received: classes='2'"),
        ({"files": [("a.png", 2)]}, "must lie in 0 to 1, .* Received: 2 for a.png"),
        ({"files": [("a.png", -1)]}, "Received: -1 for a.png"),
        ({"image_size": 0}, "`image_size` must be a positive integer"),
        ({"image_size": True}, "`image_size` must be a positive integer"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"batch_size": 1.5}, "Received: batch_size=1.5"),
        ({"batch_size": True}, "Received: batch_size=True"),
        ({"crop": 0}, r"`crop` must lie in \(0, 1\]. Received: crop=0"),
        ({"crop": "0.9"}, "Received: crop='0.9'"),
    ],
)
def test_wrong_arguments(options, message):
    arguments = {"files": [("a.png", 0)], "classes": 2, "image_size": 32, "batch_size": 8}
    with pytest.raises(ValueError, match=message):
        ImageFolder(**{**arguments, **options})


def test_random_box_stays_inside():
    draw = np.random.default_rng(0)
    for width, height in ((60, 40), (1000, 3), (1, 1)):
        for _ in range(200):
            left, top, right, bottom = random_box(width, height, draw)
            assert 0 <= left < right <= width + 1e-9
            assert 0 <= top < bottom <= height + 1e-9
